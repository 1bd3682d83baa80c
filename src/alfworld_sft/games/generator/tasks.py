"""Which task a game sets: the task type, what is wanted and where, in the proportions of the real games."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import NamedTuple

from alfworld_sft.errors import UserError
from alfworld_sft.games.generator.dice import Choices, Dice
from alfworld_sft.games.generator.facts import ROOMS, STATIONS, Room, barred_at_start, statistics
from alfworld_sft.types import TASK_TYPES, TaskType
from alfworld_sft.world.treatments import TREATMENTS_BY_TASK

UNSEEN_TARGET = 0.2
UNSEEN_GOAL = 0.12
"""The weight of what none of the real games at hand asks for but the rules allow; what was seen once has 1 more."""
RARE = 0.1
"""A type in fewer rooms than this share becomes no target by the rules alone."""
_NEEDS: dict[TaskType, str] = {t: treatment.ability for t, treatment in TREATMENTS_BY_TASK.items()}


class Task(NamedTuple):
    """What a game asks for. `goal` is a furniture type, or the type of a lamp; `needed` copies are enough to win."""

    task_type: TaskType
    room: Room
    target: str
    goal: str

    @property
    def needed(self) -> int:
        """How many things of the target's type it takes."""
        return 2 if self.task_type == "pick_two_obj_and_place" else 1

    @property
    def barred(self) -> frozenset[str]:
        """The furniture that the targets do not lie in at the start."""
        return barred_at_start(self.task_type, self.goal)


def check_task_types(task_types: Sequence[str] | None) -> None:
    """Raise UserError for a text in place of a list, and for a task type that there is none of."""
    if isinstance(task_types, str):
        raise UserError(f"task_types={task_types!r}: a list of task types is needed, as [{task_types!r}]")
    for task_type in task_types or ():
        if task_type not in TASK_TYPES:
            close = get_close_matches(str(task_type), TASK_TYPES, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(TASK_TYPES)}"
            raise UserError(f"unknown task type {task_type!r}; {hint}")


def check_tasks(
    task_types: Sequence[TaskType] | None, rooms: Sequence[Room] | None
) -> tuple[tuple[TaskType, Room], ...]:
    """Return the pairs of task type and room that these options leave; raises UserError where there are none."""
    if rooms is not None and not rooms:
        raise UserError(f"no rooms are named; there are {', '.join(ROOMS)}")
    if task_types is not None and not task_types:
        raise UserError(f"no task types are named; there are {', '.join(TASK_TYPES)}")
    check_task_types(task_types)
    wanted = [t for t in TASK_TYPES if task_types is None or t in task_types]
    pairs = tuple((t, room) for t in wanted for room in _rooms_of(t) if rooms is None or room in rooms)
    lost = [t for t in wanted if t not in {pair[0] for pair in pairs}]
    if lost and (task_types is not None or not pairs):
        places = ", ".join(_rooms_of(lost[0]))
        raise UserError(f"no {' or '.join(rooms or ROOMS)} has a task of the type {lost[0]}; it is set in: {places}")
    return pairs


def choose_type(dice: Dice, pairs: tuple[tuple[TaskType, Room], ...]) -> TaskType:
    """Return a task type, in the real proportions of those left."""
    return dice.choose(_types(pairs))


def choose_task(dice: Dice, task_type: TaskType, pairs: tuple[tuple[TaskType, Room], ...]) -> Task:
    """Return a task of the type: its room first, then what and where."""
    room = dice.choose(_rooms(task_type, pairs))
    target, goal = dice.choose(_aims(task_type, room))
    return Task(task_type, room, target, goal)


def sentence(dice: Dice, task: Task) -> str:
    """Return the goal in words, in one of the real patterns."""
    pattern = dice.choose(statistics().tasks[task.task_type].sentences)
    return pattern.format(object=task.target.lower(), receptacle=task.goal.lower())


def copies(dice: Dice, task: Task) -> int:
    """Return how many things of the target's type the room has."""
    return max(task.needed, dice.choose(statistics().tasks[task.task_type].copies))


def _rooms_of(task_type: TaskType) -> tuple[Room, ...]:
    return tuple(statistics().tasks[task_type].rooms)


@lru_cache(maxsize=64)
def _types(pairs: tuple[tuple[TaskType, Room], ...]) -> Choices[TaskType]:
    left = {task_type for task_type, _ in pairs}
    return Choices((t, statistics().tasks[t].games) for t in TASK_TYPES if t in left)


@lru_cache(maxsize=256)
def _rooms(task_type: TaskType, pairs: tuple[tuple[TaskType, Room], ...]) -> Choices[Room]:
    games = statistics().tasks[task_type].rooms
    return Choices((room, games[room]) for t, room in pairs if t == task_type)


@lru_cache(maxsize=64)
def _aims(task_type: TaskType, room: Room) -> Choices[tuple[str, str]]:
    """Return the pairs of target and goal that the rules allow, those of the real games before the others."""
    facts = statistics()
    task, there = facts.tasks[task_type], facts.rooms[room]
    seen_targets, seen_goals = task.targets[room], task.goals[room]
    targets: dict[str, float] = {}
    for t, thing in there.things.items():
        able = facts.abilities[t]
        known = t in seen_targets or (thing.present >= RARE and thing.places)
        if known and "pickupable" in able and _NEEDS.get(task_type, "pickupable") in able:
            targets[t] = seen_targets.get(t, 0) + UNSEEN_TARGET
    if task_type == "look_at_obj_in_light":
        return Choices(((t, g), weight * n) for t, weight in targets.items() for g, n in seen_goals.items())
    goals = {g: seen_goals.get(g, 0) + UNSEEN_GOAL for g in there.furniture_types if g != STATIONS.get(task_type)}
    return Choices(
        ((t, g), by_target * by_goal)
        for t, by_target in targets.items()
        for g, by_goal in goals.items()
        if t in facts.can_contain[g]
    )
