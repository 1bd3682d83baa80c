"""The commands that are tried: the same for the same seed, of every kind, and aimed where they should be."""

import dataclasses
import random
from pathlib import Path

import pytest

from tests.reference.client import Reply
from tests.reference.commands import Player
from tests.reference.differential import OurWorld
from tests.reference.facts import displayed, read_facts
from tests.reference.invalid import invalid_command
from tests.reference.real import NO_REAL_GAMES, game_files, sample
from tests.reference.test_differential import FACTS
from tests.reference.transcripts import Turn, record

needs_games = pytest.mark.skipif(not game_files(), reason=NO_REAL_GAMES)
ADMISSIBLE = ("go to desk 1", "inventory", "look", "take mug 1 from shelf 2")


def test_the_first_id_of_a_class_has_the_highest_number() -> None:
    ids = {"cabinet_bar_b", "cabinet_bar_a", "sink_bar_1_bar_sinkbasin", "sink_bar_1"}
    assert displayed(ids) == {
        "cabinet_bar_a": "cabinet 2",
        "cabinet_bar_b": "cabinet 1",
        "sink_bar_1": "sink 1",
        "sink_bar_1_bar_sinkbasin": "sinkbasin 1",
    }


def test_invalid_commands_are_almost_never_admissible_and_reach_beyond_ascii() -> None:
    rng = random.Random(0)
    commands = [invalid_command(rng, ADMISSIBLE, [*ADMISSIBLE, "close fridge 1"]) for _ in range(2000)]
    understood = [command for command in commands if command.strip() in ADMISSIBLE]
    assert len(understood) < 250
    assert {"", "close fridge 1", "LOOK"} <= set(commands)
    assert any(not command.isascii() for command in commands)
    assert any(command != command.strip() and command.strip() in ADMISSIBLE for command in understood)


def test_the_other_grammar_is_tried() -> None:
    rng = random.Random(0)
    commands = {invalid_command(rng, ("move mug 1 to shelf 2",), []) for _ in range(500)}
    assert "put mug 1 in/on shelf 2" in commands


def play(path: Path, seed: int, *, goal_first: bool) -> tuple[Turn, ...]:
    return record(OurWorld(), path, read_facts(path), seed=seed, steps=60, goal_first=goal_first)


@needs_games
@pytest.mark.real_games
def test_the_same_seed_plays_the_same_commands() -> None:
    path = game_files()[0]
    assert play(path, 1, goal_first=False) == play(path, 1, goal_first=False)
    assert play(path, 1, goal_first=False) != play(path, 2, goal_first=False)


@needs_games
@pytest.mark.real_games
def test_the_goal_is_reached_in_nearly_every_game_and_the_game_goes_on() -> None:
    paths = sample(game_files(), 5)
    won_at = [
        next((number for number, turn in enumerate(play(path, 0, goal_first=True)) if turn.reply.won), None)
        for path in paths
    ]
    assert sum(number is not None for number in won_at) >= 0.9 * len(paths)
    assert sum(number is not None and number < 30 for number in won_at) >= 0.9 * len(paths)


@needs_games
@pytest.mark.real_games
@pytest.mark.parametrize(
    "text",
    [
        "Next to it, you see a ",
        "This is a hot and clean ",
        "This is a cool and clean ",
        "You sliced the ",
        "You turn on the ",
        "In it, you see ",
        "You close the ",
        "Available commands:",
    ],
)
def test_the_rare_cases_are_reached(text: str, replies: list[Reply]) -> None:
    assert any(text in reply.text for reply in replies)


@pytest.fixture(scope="module")
def replies() -> list[Reply]:
    paths = sample(game_files(), 15)
    return [turn.reply for number, path in enumerate(paths) for turn in play(path, number, goal_first=number % 2 == 0)]


def test_a_player_with_nothing_to_aim_at_still_has_something_to_say() -> None:
    facts = dataclasses.replace(FACTS, walkthrough=(), holders={})
    player = Player(facts, Reply("Welcome.", ("look",), won=False, done=False), seed=0, steps=40, goal_first=True)
    plays = [player.play() for _ in range(40)]
    assert {play.command for play in plays if play.kind != "invalid"} == {"look"}
