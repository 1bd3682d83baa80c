"""A game whose sentence asks for something else than its goal is refused: a player could not know what wins it."""

from __future__ import annotations

import pytest

from alfworld_sft.errors import GameFileError
from alfworld_sft.games import find_games
from alfworld_sft.types import TaskType
from alfworld_sft.world import parse_game
from alfworld_sft.world.sentence import Goal, contradiction
from tests.handmade import Furniture, game_file

ROOM = [
    Furniture("desk 1", 1, ("mug 1", "mug 2", "cup 1", "desklamp 1")),
    Furniture("shelf 1", 2),
    Furniture("sinkbasin 1", 3),
    Furniture("microwave 1", 4),
    Furniture("fridge 1", 5),
]
PLAIN: TaskType = "pick_and_place_simple"
COOL: TaskType = "pick_cool_then_place_in_recep"
LIGHT: TaskType = "look_at_obj_in_light"


def load(task_type: TaskType, place: str, task: str) -> str:
    return parse_game(game_file(task_type, "mug", place, ROOM, task=task), game_id="x").task


@pytest.mark.parametrize(
    ("task_type", "place", "task", "goal"),
    [
        (COOL, "desk", "put a mug in desk.", "a cool mug in or on a desk"),
        (COOL, "desk", "some mug and put it in desk.", "a cool mug in or on a desk"),
        (COOL, "desk", "put a hot mug in desk.", "a cool mug in or on a desk"),
        (COOL, "shelf", "put a cool mug in desk.", "a cool mug in or on a shelf"),
        (COOL, "desk", "cool some cup and put it in desk.", "a cool mug in or on a desk"),
        (PLAIN, "desk", "clean some mug and put it in desk.", "a mug in or on a desk"),
        (PLAIN, "desk", "put two mug in desk.", "a mug in or on a desk"),
        ("pick_two_obj_and_place", "desk", "put some mug on desk.", "two mug in or on a desk"),
        ("pick_clean_then_place_in_recep", "desk", "put a mug in desk.", "a clean mug in or on a desk"),
        ("pick_heat_then_place_in_recep", "desk", "put a mug in desk.", "a hot mug in or on a desk"),
        (LIGHT, "desklamp", "examine the cup with the desklamp.", "a look at a mug with the desklamp"),
        (LIGHT, "desklamp", "look at mug under the floorlamp.", "a look at a mug with the desklamp"),
        (LIGHT, "desklamp", "put a mug in desk.", "a look at a mug with the desklamp"),
    ],
)
def test_a_sentence_that_asks_for_something_else_is_refused(
    task_type: TaskType, place: str, task: str, goal: str
) -> None:
    with pytest.raises(GameFileError) as error:
        load(task_type, place, task)
    assert error.value.reason == f"its task sentence {task!r} contradicts its goal, which is {goal}"


@pytest.mark.parametrize(
    ("task_type", "place", "task"),
    [
        (COOL, "desk", "put a cool mug in desk."),
        (COOL, "desk", "Cool some mug and put it in the desk"),
        (PLAIN, "sinkbasin", "put a mug in sink."),
        ("pick_two_obj_and_place", "desk", "find two mug and put them in desk."),
        (LIGHT, "desklamp", "look at mug under the desklamp."),
        (COOL, "desk", "Bring me a chilled mug."),
    ],
)
def test_a_sentence_that_asks_for_the_goal_or_is_in_words_of_its_own_is_taken(
    task_type: TaskType, place: str, task: str
) -> None:
    assert load(task_type, place, task) == task


def test_a_goal_is_compared_in_all_its_parts() -> None:
    assert contradiction("put two mug in desk.", Goal("mug", "desk", count=2)) is None
    for goal in (Goal("cup", "desk", count=2), Goal("mug", "shelf", count=2), Goal("mug", "desk")):
        assert contradiction("put two mug in desk.", goal) is not None


@pytest.mark.parametrize("split", ["train", "valid_seen", "valid_unseen"])
def test_every_embedded_game_asks_for_its_goal(split: str) -> None:
    """These are made without a file, so each is written as one and read back."""
    from alfworld_sft.games.embedded import _lines
    from alfworld_sft.games.generator.blueprint import unpack
    from alfworld_sft.games.generator.generate import from_blueprint

    lines = _lines()[split]
    assert len(lines) == len(find_games("embedded", split))
    for line in lines:
        made = from_blueprint(unpack(line), split)
        assert made is not None
        assert parse_game(made.file_bytes(), game_id=made.id).task == made.game.task
