"""What belongs to each treatment is what the rules, the files and the words make of it."""

import os
import subprocess
import sys
from dataclasses import fields
from typing import Any, get_args

import pytest

from alfworld_sft.types import TASK_TYPES
from alfworld_sft.world import Env, Game, parse_game
from alfworld_sft.world.game import TREATMENTS, TREATMENTS_BY_FLAG, TREATMENTS_BY_TASK, Object, PlaceGoal, State
from alfworld_sft.world.language import TreatmentVerb, condition
from tests.handmade import Furniture, kitchen_file, make_game

THINGS = {"clean": "fork", "heat": "apple", "cool": "apple"}


def test_there_is_one_treatment_for_each_verb_flag_and_task():
    assert tuple(TREATMENTS) == get_args(TreatmentVerb)
    assert [t.verb for t in TREATMENTS_BY_FLAG.values()] == ["clean", "heat", "cool"]
    assert [TREATMENTS_BY_TASK[t].verb for t in TASK_TYPES if t in TREATMENTS_BY_TASK] == ["clean", "heat", "cool"]


@pytest.mark.parametrize("treatment", TREATMENTS.values(), ids=lambda t: t.verb)
def test_a_treatment_names_fields_that_there_are(treatment):
    assert treatment.ability in {field.name for field in fields(Object)}
    assert treatment.flag in State._fields


def test_the_words_of_a_treatment_are_those_that_the_game_says():
    said = {condition(**{t.flag: True}, sliced=sliced) for t in TREATMENTS.values() for sliced in (False, True)}
    assert {word.removesuffix(" sliced") for word in said} == {w for t in TREATMENTS.values() for w in t.descriptions}


@pytest.mark.parametrize("treatment", TREATMENTS.values(), ids=lambda t: t.verb)
def test_a_treatment_is_done_at_its_appliance_and_sets_its_flag(treatment):
    thing = THINGS[treatment.verb]
    appliances = [Furniture(f"{t.appliance} 1", n, openable=False) for n, t in enumerate(TREATMENTS.values(), 2)]
    game = make_game(treatment.task_type, thing, "desk", [Furniture("desk 1", 1, (f"{thing} 1",)), *appliances])
    assert isinstance(game.goal, PlaceGoal)
    assert game.goal.flags == (treatment.flag,)
    able = [game.treatment_at(r) for r in range(len(game.receptacles))]
    assert {t.verb for t in able if t} == set(TREATMENTS)
    env = Env(game)
    env.reset()
    for command in (
        "go to desk 1",
        f"take {thing} 1 from desk 1",
        f"go to {treatment.appliance} 1",
        f"{treatment.verb} {thing} 1 with {treatment.appliance} 1",
    ):
        assert env.step(command).text != "Nothing happens."
    o = next(i for i, each in enumerate(game.objects) if each.name == f"{thing} 1")
    assert {flag: getattr(env.game_state, flag) >> o & 1 for flag in TREATMENTS_BY_FLAG} == {
        flag: int(flag == treatment.flag) for flag in TREATMENTS_BY_FLAG
    }


@pytest.mark.parametrize(("first", "then"), [("heat", "cool"), ("cool", "heat")])
def test_heating_and_cooling_undo_each_other(kitchen: Game, first: str, then: str):
    assert (TREATMENTS[first].undoes, TREATMENTS[then].undoes) == (then, first)
    env = Env(kitchen)
    env.reset()
    env.step("go to countertop 1")
    env.step("take apple 1 from countertop 1")
    for verb in (first, then):
        appliance = TREATMENTS[verb].appliance
        env.step(f"go to {appliance} 1")
        assert env.step(f"{verb} apple 1 with {appliance} 1").text.startswith(f"You {verb} ")
    assert bool(getattr(env.game_state, TREATMENTS[first].flag)) is False
    assert bool(getattr(env.game_state, TREATMENTS[then].flag)) is True


def test_a_fingerprint_is_the_same_in_every_process_and_for_every_name(kitchen: Game):
    program = (
        "from tests.handmade import kitchen_file; from alfworld_sft.world import parse_game;"
        "print(parse_game(kitchen_file(), game_id='another').fingerprint)"
    )
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, env=environment
        )
        assert done.stdout.strip() == kitchen.fingerprint


@pytest.mark.parametrize(
    "change", [{"task": "heat some apple and put it in the fridge."}, {"facts": ["opened <fridge 1>"]}, {"older": True}]
)
def test_a_fingerprint_changes_with_what_is_played(kitchen: Game, change: dict[str, Any]):
    assert parse_game(kitchen_file(**change), game_id="kitchen").fingerprint != kitchen.fingerprint
