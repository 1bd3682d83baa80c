import json
from pathlib import Path

import pytest

from alfworld_sft.games.generator.facts import FILE, ROOMS, barred_at_start, room_of_scene, statistics
from alfworld_sft.types import TASK_TYPES
from scripts.learn_scenes import as_text, learn, read_houses


@pytest.mark.real_games
def test_the_facts_are_those_of_the_real_train_games(real_games_dir: Path):
    paths = sorted((real_games_dir / "valid_train").rglob("game.tw-pddl"))
    assert as_text(learn(read_houses(paths))) == FILE.read_text(encoding="utf-8")


def test_all_rooms_and_task_types_are_there():
    facts = statistics()
    assert (tuple(facts.rooms), tuple(facts.tasks)) == (ROOMS, TASK_TYPES)
    assert sum(task.games for task in facts.tasks.values()) == json.loads(FILE.read_text())["games"] == 200


def test_every_type_that_is_spoken_of_is_known():
    facts = statistics()
    for room in facts.rooms.values():
        assert set(room.furniture_types) <= set(facts.can_contain) == set(facts.most)
        for thing in (*room.things.values(), *room.fixtures.values()):
            assert {t for place in thing.places for t in place.split("+")} <= set(room.furniture_types)


def test_scenes_are_numbered_by_room():
    assert [room_of_scene(scene) for scene in (1, 30, 230, 301, 427)] == [
        "kitchen",
        "kitchen",
        "living_room",
        "bedroom",
        "bathroom",
    ]


def test_what_is_wanted_lies_neither_at_its_goal_nor_where_it_is_treated():
    assert barred_at_start("pick_two_obj_and_place", "Sofa") == {"Sofa"}
    assert barred_at_start("pick_heat_then_place_in_recep", "Fridge") == {"Microwave"}
    assert barred_at_start("look_at_obj_in_light", "DeskLamp") == frozenset()
