"""The tester itself: it finds what is different, and says precisely where."""

import dataclasses
import json
from pathlib import Path

import pytest

from tests.reference.client import Reply
from tests.reference.differential import Comparison, Difference, compare_game, differences, shape
from tests.reference.facts import Facts, Goal

FACTS = Facts(
    goal=Goal("pick_and_place_simple", target="mug", receptacle="desk", lamp=""),
    walkthrough=("go to shelf 1", "take mug 1 from shelf 1", "go to desk 1", "move mug 1 to desk 1"),
    receptacles=("desk 1", "shelf 1"),
    objects=("mug 1",),
    openable=frozenset(),
    holders={"mug 1": ("shelf 1",)},
    neighbours={"desk 1": (), "shelf 1": ()},
)
PATH = Path("game.tw-pddl")


class Room:
    """A world of its own: two places, nothing to win; `lies` are said instead of the truth at a given step."""

    def __init__(self, lies: dict[int, dict[str, object]] | None = None) -> None:
        self.lies = lies or {}

    def load(self, path: Path) -> None:
        assert path == PATH

    def reset(self) -> Reply:
        self.count, self.place = 0, "the door"
        return self._say("Welcome.")

    def step(self, command: str) -> Reply:
        self.count += 1
        if command not in self._admissible():
            return self._say("Nothing happens.")
        self.place = command.removeprefix("go to ") if command.startswith("go to ") else self.place
        return self._say(f"You are at {self.place}.")

    def _admissible(self) -> tuple[str, ...]:
        return (*(f"go to {place}" for place in ("desk 1", "shelf 1") if place != self.place), "look")

    def _say(self, text: str) -> Reply:
        return dataclasses.replace(
            Reply(text, self._admissible(), won=False, done=False), **self.lies.get(self.count, {})
        )


class Broken(Room):
    """A world that crashes at its third step."""

    def step(self, command: str) -> Reply:
        if self.count == 2:
            raise KeyError("shelf 1")
        return super().step(command)


def compare(ours: Room, steps: int = 30) -> Comparison:
    return compare_game(Room(), ours, PATH, FACTS, seed=0, steps=steps, goal_first=True)


def test_equal_worlds_have_no_difference() -> None:
    result = compare(Room())
    assert result.differences == []
    assert sum(result.steps.values()) == sum(result.shapes.values()) == 30
    assert set(result.steps) == {"goal", "aimed", "random", "invalid"}


@pytest.mark.parametrize(
    ("lie", "field", "value"),
    [
        ({"text": "You are at sea."}, "text", "You are at sea."),
        ({"won": True}, "won", True),
        ({"done": True}, "done", True),
        ({"admissible_commands": ("look", "swim")}, "admissible_commands", ["swim"]),
    ],
)
def test_a_wrong_reply_is_reported_with_its_step_and_ends_the_game(lie: dict, field: str, value: object) -> None:
    result = compare(Room({5: lie}))
    (difference,) = result.differences
    assert (difference.step, difference.field, difference.ours) == (5, field, value)
    assert sum(result.steps.values()) == 5


def test_a_wrong_order_of_commands_is_a_difference() -> None:
    theirs = Reply("", ("go to desk 1", "look"), won=False, done=False)
    ours = Reply("", ("look", "go to desk 1"), won=False, done=False)
    (difference,) = differences(3, "random", "look", theirs, ours)
    assert difference.field == "order of admissible_commands"


def test_a_wrong_opening_is_reported_at_step_0_and_nothing_is_played() -> None:
    result = compare(Room({0: {"text": "Welcome!"}}))
    assert result.differences == [Difference(0, "reset", "", "text", "Welcome.", "Welcome!")]
    assert not result.steps


def test_a_crash_of_ours_is_a_difference() -> None:
    (difference,) = compare(Broken()).differences
    assert (difference.step, difference.field, difference.ours) == (3, "error", "KeyError: 'shelf 1'")


def test_a_difference_can_be_written_as_json() -> None:
    (difference,) = compare(Room({5: {"text": "\x00"}})).differences
    assert json.loads(json.dumps(dataclasses.asdict(difference)))["ours"] == "\x00"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("You pick up the mug 1 from the shelf 12.", "You pick up the X from the X."),
        ("On the desk 1, you see a cd 2, a mug 1, and a pen 3.", "On the X, you see a X, …."),
        ("Available commands:\n  look:", "Available commands:"),
    ],
)
def test_a_shape_has_no_names(text: str, expected: str) -> None:
    assert shape(text) == expected
