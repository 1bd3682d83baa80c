"""What real houses hold, as `scenes.json` says it: facts counted in the real train games by `scripts/learn_scenes.py`.

Types are named as in game files, without the ending: `CounterTop`, `Mug`. Furniture is what ALFWorld calls
receptacles; *things* are its objects: those that can be picked up, and *fixtures* like windows and lamps, which belong
to the room. A *place* names the furniture that holds a thing: one type, or two joined by "+", as a mug that stands in
"CoffeeMachine+CounterTop" at once; NOWHERE is no furniture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from alfworld_sft.games.generator.dice import Choices
from alfworld_sft.types import TASK_TYPES, TaskType
from alfworld_sft.world.treatments import TREATMENTS_BY_TASK

Room = Literal["kitchen", "living_room", "bedroom", "bathroom"]
ROOMS: tuple[Room, ...] = get_args(Room)

FILE = Path(__file__).with_name("scenes.json")
NOWHERE = ""
ABILITIES = ("pickupable", "cleanable", "heatable", "coolable", "sliceable", "toggleable", "holds_objects")


@dataclass(frozen=True, slots=True)
class ThingFacts:
    """How often a room has such a thing, how many copies then, and where they are.

    `places` has the mean number of them in each piece of furniture of that place, in the rooms that have any;
    `nowhere` the share of them that no furniture holds.
    """

    present: float
    copies: Choices[int]
    nowhere: float
    places: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RoomFacts:
    """One kind of room.

    `layouts`: the furniture of the real rooms, each as type → (how many, how many of them can be opened), as likely
    as its number of games; `furniture_types`: all the types in them. `sharing`: for each kind of shared location its
    furniture types and the share of the chances for one that are taken.
    """

    layouts: Choices[Mapping[str, tuple[int, int]]]
    furniture_types: tuple[str, ...]
    sharing: tuple[tuple[tuple[str, ...], float], ...]
    things: Mapping[str, ThingFacts]
    fixtures: Mapping[str, ThingFacts]


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """One task type: games by room; what is wanted and where, by room; copies of what is wanted; sentences.

    `bands`: how usual the best place of what is wanted is, against the most usual one in its room, see BANDS.
    `in_openable`: how much likelier what is wanted lies in furniture that opens than other things of its type do;
    `together`: how often a copy of it lies with another for no other reason than that it does.
    """

    games: int
    rooms: Mapping[Room, int]
    targets: Mapping[Room, Mapping[str, int]]
    goals: Mapping[Room, Mapping[str, int]]
    copies: Choices[int]
    bands: Choices[tuple[float, float]]
    in_openable: float
    together: float
    sentences: Choices[str]


@dataclass(frozen=True, slots=True)
class Statistics:
    """All the facts.

    `abilities`: type → what can be done with it; `can_contain`: furniture type → types of things; `most`: furniture
    type → how many things one such piece held at most; `nested`: share of the things able to hold others that do;
    `astray`: share of the things in furniture whose location is recorded as another; `together`: as in TaskFacts, of
    things that are not wanted.
    """

    tasks: Mapping[TaskType, TaskFacts]
    rooms: Mapping[Room, RoomFacts]
    abilities: Mapping[str, frozenset[str]]
    can_contain: Mapping[str, frozenset[str]]
    most: Mapping[str, int]
    nested: float
    astray: float
    together: float


BANDS = ((0.0, 0.25), (0.25, 0.5), (0.5, 1.01))
"""Bands of a place's rate against that of the most usual place in a room. Half a game is added to each count."""


def room_of_scene(scene: int) -> Room:
    """Return the kind of room that ALFRED's numbering gives a scene: 1-30, 201-230, 301-330 or 401-430."""
    rooms: dict[int, Room] = {0: "kitchen", 2: "living_room", 3: "bedroom", 4: "bathroom"}
    return rooms[scene // 100]


STATIONS: Mapping[TaskType, str] = {t: treatment.appliance_type for t, treatment in TREATMENTS_BY_TASK.items()}
"""Where a task has the wanted thing treated."""


def barred_at_start(task_type: TaskType, goal: str) -> frozenset[str]:
    """Return the furniture that no wanted thing lies in at the start of any real game."""
    if task_type == "look_at_obj_in_light":
        return frozenset()
    return frozenset({STATIONS.get(task_type, goal)})


@lru_cache(maxsize=1)
def statistics() -> Statistics:
    """Return the facts that come with the package."""
    data = json.loads(FILE.read_text(encoding="utf-8"))
    able = {ability: set(types) for ability, types in data["abilities"].items()}
    types = {t for room in data["rooms"].values() for group in ("things", "fixtures") for t in room[group]}
    return Statistics(
        tasks={task_type: _task(data["tasks"][task_type]) for task_type in TASK_TYPES},
        rooms={room: _room(data["rooms"][room]) for room in ROOMS},
        abilities={t: frozenset(a for a in ABILITIES if t in able[a]) for t in sorted(types)},
        can_contain={furniture: frozenset(held) for furniture, held in data["can_contain"].items()},
        most=data["most"],
        nested=data["nested"],
        astray=data["astray"],
        together=data["together"],
    )


def _task(data: dict[str, Any]) -> TaskFacts:
    return TaskFacts(
        games=data["games"],
        rooms=data["rooms"],
        targets=data["targets"],
        goals=data["goals"],
        copies=_copies(data["copies"]),
        bands=Choices(zip(BANDS, (games + 0.5 for games in data["bands"]), strict=True)),
        in_openable=data["in_openable"],
        together=data["together"],
        sentences=Choices(data["sentences"].items()),
    )


def _room(data: dict[str, Any]) -> RoomFacts:
    return RoomFacts(
        layouts=Choices(
            ({t: (n, openable) for t, (n, openable) in each["furniture"].items()}, each["games"])
            for each in data["layouts"]
        ),
        furniture_types=tuple(sorted({t for each in data["layouts"] for t in each["furniture"]})),
        sharing=tuple((tuple(kind), rate) for kind, rate in data["sharing"]),
        things={t: _thing(facts) for t, facts in data["things"].items()},
        fixtures={t: _thing(facts) for t, facts in data["fixtures"].items()},
    )


def _thing(data: dict[str, Any]) -> ThingFacts:
    return ThingFacts(data["present"], _copies(data["copies"]), data["nowhere"], data["places"])


def _copies(games_by_number: dict[str, int]) -> Choices[int]:
    return Choices((int(number), games) for number, games in games_by_number.items())
