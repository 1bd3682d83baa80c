"""What does a task sentence ask for, and is that the game's goal? A sentence → `Goal`, and the two compared.

The sentences are ALFWorld's own templates, twelve in the 340 real games at hand. Their order matters:
"put a clean mug in desk." is also a "put a …".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from alfworld_sft.types import TaskType
from alfworld_sft.world.language import TreatmentVerb
from alfworld_sft.world.treatments import TREATMENTS


@dataclass(frozen=True, slots=True)
class Goal:
    """What to bring about: `count` of the objects, treated, in one place; or an object in hand beside a lit lamp.

    `object`, `place` and `lamp` are classes, as in "mug". Just one of `place` and `lamp` is set.
    """

    object: str
    place: str = ""
    treatment: TreatmentVerb | None = None
    count: int = 1
    lamp: str = ""


_SOME = r"(?:an?|some|the)"
_WHERE = r"(?:in|on) (?:the )?(?P<place>\w+)"
_Pattern = tuple[str, TreatmentVerb | None, int]
_PATTERNS: tuple[_Pattern, ...] = (
    (rf"(?:look at|examine) (?:{_SOME} )?(?P<object>\w+) (?:under|with) the (?P<lamp>\w+)", None, 1),
    *((rf"put {_SOME} {t.flag} (?P<object>\w+) {_WHERE}", t.verb, 1) for t in TREATMENTS.values()),
    *((rf"{t.verb} {_SOME} (?P<object>\w+) and put it {_WHERE}", t.verb, 1) for t in TREATMENTS.values()),
    (rf"put two (?P<object>\w+) {_WHERE}", None, 2),
    (rf"find two (?P<object>\w+) and put them {_WHERE}", None, 2),
    (rf"put {_SOME} (?P<object>\w+) {_WHERE}", None, 1),
)
_WITHOUT_VERB: tuple[_Pattern, ...] = ((rf"{_SOME} (?P<object>\w+) and put it {_WHERE}", None, 1),)
"""What is left of a template whose treatment was cut out: no task to play, but one that can contradict the goal."""


@lru_cache(maxsize=4096)
def read_task(task: str) -> Goal | None:
    """Return what the sentence asks for; None where it is none of ALFWorld's templates."""
    return _match(task, _PATTERNS)


def task_type_of(goal: Goal) -> TaskType:
    """Return the type of the task that has this goal."""
    if goal.lamp:
        return "look_at_obj_in_light"
    if goal.count > 1:
        return "pick_two_obj_and_place"
    return TREATMENTS[goal.treatment].task_type if goal.treatment else "pick_and_place_simple"


def contradiction(task: str, goal: Goal) -> str | None:
    """Return why a sentence does not ask for the goal; None where it does, or is in words of its own."""
    asked = read_task(task) or _match(task, _WITHOUT_VERB)
    if asked is None or _comparable(asked) == _comparable(goal):
        return None
    return f"its task sentence {task!r} contradicts its goal, which is {_in_words(goal)}"


def _match(task: str, patterns: tuple[_Pattern, ...]) -> Goal | None:
    sentence = " ".join(task.lower().split()).rstrip(".")
    for pattern, treatment, count in patterns:
        match = re.fullmatch(pattern, sentence)
        if match is not None:
            words = match.groupdict()
            return Goal(words["object"], words.get("place") or "", treatment, count, words.get("lamp") or "")
    return None


def _comparable(goal: Goal) -> tuple[object, ...]:
    """A sink and its basin are one place, as are a bathtub and its basin."""
    return goal.object, goal.place.removesuffix("basin"), goal.treatment, goal.count, goal.lamp


def _in_words(goal: Goal) -> str:
    if goal.lamp:
        return f"a look at a {goal.object} with the {goal.lamp}"
    number = "two" if goal.count > 1 else "a"
    state = f"{TREATMENTS[goal.treatment].flag} " if goal.treatment else ""
    return f"{number} {state}{goal.object} in or on a {goal.place}"
