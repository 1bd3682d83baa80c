"""An episode is found in the right one of similar games, and played as its game has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alfworld_sft.foreign.read import ForeignEpisode, ForeignTurn, read_conversation
from alfworld_sft.foreign.replay import command_for, find_replay, replay_foreign, tells, told_by
from alfworld_sft.games import find_games
from alfworld_sft.games.finder import GameFinder, is_named
from alfworld_sft.world import Game
from alfworld_sft.world.observations import opening_look
from alfworld_sft.world.plan import shortest_plan
from tests.foreign.records import record


def test_an_episode_is_found_in_that_one_of_games_that_begin_alike_which_answers_like_it(data: Path) -> None:
    """Games that are alike but for a book in the bin: all tell the same until somebody goes there."""
    loaded = {ref.id: ref.load() for ref in find_games(data, "train")}
    finder = GameFinder(find_games(data, "train"))
    game = next(game for game_id, game in loaded.items() if "pick_and_place" in game_id)
    alike = [found.id for found in finder.find(game.task, opening_look(game))]
    assert len(alike) == 2
    assert next(finder.find(game.task, opening_look(game), named=f"data/{alike[1]}/game.tw-pddl")).id == alike[1]
    for game_id in alike:
        told = record(loaded[game_id], "eto", ["go to garbagecan 1", *shortest_plan(loaded[game_id])])
        assert _best(told, finder) == game_id


def _best(told: dict[str, Any], finder: GameFinder) -> str:
    found = find_replay(read_conversation(told, "x"), finder)
    assert found is not None
    return found[0].id


def test_both_versions_tell_the_same() -> None:
    assert told_by("You arrive at loc 4. On the desk 1, you see nothing.") == "On the desk 1, you see nothing."
    assert told_by("You put the mug 1 in/on the desk 1.") == told_by("You move the mug 1 to the desk 1.")
    assert told_by("Nothing happened") == "Nothing happens."


def test_after_the_game_is_won_nothing_more_is_played(games: list[Game]) -> None:
    plan = shortest_plan(games[0])
    turns = tuple(ForeignTurn(command, None) for command in (*plan, "fly"))
    replay = replay_foreign(ForeignEpisode("x", games[0].task, "", turns), games[0])
    assert (replay.won, replay.actions, replay.invalid) == (True, len(plan), 0)


def test_a_prompt_around_an_answer_tells_the_same() -> None:
    text = "You arrive at desk 1. On the desk 1, you see a mug 1."
    assert tells("Observation: On the desk 1, you see a mug 1. Your task: cool it. You can also: look", text)
    assert not tells("On the desk 1, you see a mug 2.", text)


def test_a_game_named_by_its_id_needs_no_task(data: Path, games: list[Game]) -> None:
    finder = GameFinder(find_games(data, "train"))
    assert [game.id for game in finder.find("", "", named=games[3].id)] == [games[3].id]
    assert [game.id for game in finder.find("", "", named=f"data/{games[3].id}")] == [games[3].id]
    assert list(finder.find("", "", named="elsewhere/trial")) == []


@pytest.mark.parametrize(
    ("named", "is_it"),
    [("T/t1", True), ("a/T/t1", True), ("a/T/t1/game.tw-pddl", True), ("a/T/t1.tw-pddl", True), ("a/T/t12", False),
     ("xT/t1", False), (None, False)],
)  # fmt: skip
def test_a_game_is_named_by_id_or_by_a_path_with_it(named: str | None, is_it: bool) -> None:
    assert is_named("T/t1", named) is is_it


@pytest.mark.parametrize(
    ("action", "command"),
    [
        ("take pen 2 from drawer 1", "take pen 2 from drawer 1"),
        ("Take  Pen 2 from Drawer 1", "take pen 2 from drawer 1"),
        ("put credit card 1 in/on counter top 1", "move creditcard 1 to countertop 1"),
        ("put creditcard 1 on countertop 1", "move creditcard 1 to countertop 1"),
        ("use desk lamp 1", "use desklamp 1"),
        ("put pen 7 in/on desk 1", "move pen 7 to desk 1"),
        ("fly to moon 1", "fly to moon 1"),
    ],
)
def test_an_action_is_played_in_the_words_of_the_game(games: list[Game], action: str, command: str) -> None:
    admissible = ("move creditcard 1 to countertop 1", "take pen 2 from drawer 1", "use desklamp 1")
    assert command_for(action, games[0], admissible) == command


def test_answers_are_compared_by_their_letters() -> None:
    """As the published sets have them: no comma before "and", names with capitals and spaces."""
    text = "On the sidetable 2, you see a alarmclock 1, a cd 3, and a pen 2."
    assert tells("On the sidetable 2, you see an alarm clock 1, a CD 3 and a pen 2.", text)
    assert not tells("On the sidetable 2, you see an alarm clock 1, a CD 3 and a pen 21.", text)
