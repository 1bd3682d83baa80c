"""Which objects lie where in a game? Read from the game file, to aim commands at the rare cases.

The tester knows these hidden facts; they decide only which command is tried, never what is expected. They are found
with a few regular expressions, apart from the package's own reader, so that neither can hide the other's mistakes.
"""

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

FACT = re.compile(r"\((\w+) ([^\s()]+)(?: ([^\s()]+))?\)")


@dataclass(frozen=True)
class Goal:
    """What the game asks for, in display classes ("apple"); `lamp` is empty where none is needed."""

    task_type: str
    target: str
    receptacle: str
    lamp: str


@dataclass(frozen=True)
class Facts:
    """The first state of a game under its displayed names."""

    goal: Goal
    walkthrough: tuple[str, ...]
    receptacles: tuple[str, ...]
    objects: tuple[str, ...]
    openable: frozenset[str]
    holders: dict[str, tuple[str, ...]]
    """Object → the receptacles it is in: several for some objects."""
    neighbours: dict[str, tuple[str, ...]]
    """Receptacle → the other receptacles at its location."""

    def of_class(self, *classes: str) -> list[str]:
        """The objects and receptacles whose name is one of the classes and a number."""
        return [name for name in (*self.objects, *self.receptacles) if name.rsplit(" ", 1)[0] in classes]


def read_facts(path: Path) -> Facts:
    """The facts of a game file and of the `traj_data.json` beside it."""
    game = json.loads(path.read_text(encoding="utf-8"))
    problem = game["pddl_problem"].lower()
    start, end = problem.index("(:init"), problem.index("(:goal")
    facts = FACT.findall(problem, start, end)
    names = displayed({argument for _, *arguments in facts for argument in arguments if "_bar_" in argument})
    pairs: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for predicate, first, second in facts:
        pairs[predicate].append((names.get(first, first), names.get(second, second)))
    return Facts(
        goal=_goal(path.with_name("traj_data.json")),
        walkthrough=tuple(game.get("walkthrough") or ()),
        receptacles=tuple(sorted({name for name, _ in pairs["receptacletype"]})),
        objects=tuple(sorted({name for name, _ in pairs["objecttype"]})),
        openable=frozenset(name for name, _ in pairs["openable"]),
        holders=_grouped(pairs["inreceptacle"]),
        neighbours=_neighbours(dict(pairs["receptacleatlocation"])),
    )


def displayed(ids: set[str]) -> dict[str, str]:
    """Entity id → displayed name: within a class, the first id in sorted order has the highest number."""
    left = Counter(map(_class_of, ids))
    names = {}
    for entity in sorted(ids):
        kind = _class_of(entity)
        names[entity] = f"{kind} {left[kind]}"
        left[kind] -= 1
    return names


def _class_of(entity: str) -> str:
    return entity.split("_bar_", 1)[0] + ("basin" if "basin" in entity else "")


def _grouped(pairs: list[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    grouped: dict[str, set[str]] = defaultdict(set)
    for key, value in pairs:
        grouped[key].add(value)
    return {key: tuple(sorted(values)) for key, values in sorted(grouped.items())}


def _neighbours(location_of: dict[str, str]) -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(sorted(other for other, there in location_of.items() if there == here and other != name))
        for name, here in location_of.items()
    }


def _goal(path: Path) -> Goal:
    trajectory = json.loads(path.read_text(encoding="utf-8"))
    wanted = trajectory["pddl_params"]
    return Goal(
        task_type=trajectory["task_type"],
        target=wanted["object_target"].lower(),
        receptacle=wanted["parent_target"].lower(),
        lamp=wanted["toggle_target"].lower(),
    )
