"""The nouns of a game: objects, receptacles, locations, goals, and the state that changes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, NamedTuple

from alfworld_sft.types import TaskType, Wording
from alfworld_sft.world.grammar import Variant
from alfworld_sft.world.treatments import HEATING_AND_COOLING, TREATMENTS, Treatment

SymbolKind = Literal["agent", "object", "receptacle", "location", "otype", "rtype"]


@dataclass(frozen=True, slots=True)
class Object:
    """Something that can be seen, and perhaps carried. `type` is the PDDL type, as in `mugtype`."""

    name: str
    type: str
    pickupable: bool
    cleanable: bool
    heatable: bool
    coolable: bool
    sliceable: bool
    toggleable: bool
    holds_objects: bool
    inner: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Receptacle:
    """A piece of furniture. `location` is None where the file gives it none: it can then never be reached."""

    name: str
    type: str
    location: int | None
    openable: bool
    can_contain: frozenset[str]


@dataclass(frozen=True, slots=True)
class Location:
    """A place to stand, with the receptacles that are in reach there."""

    name: str
    receptacles: tuple[int, ...]


class State(NamedTuple):
    """Everything that a command can change; objects, receptacles and locations are indices in id order.

    `contents[r]` lists the objects in receptacle r, ascending: an object can be in two. `object_at` holds pairs
    (object, location), `taken_from` pairs (object, receptacle): the reference's recorded `not_inReceptacle` facts.
    `opened` is a bit per receptacle; `clean`, `hot`, `cool`, `sliced` and `toggled` are a bit per object.
    """

    location: int
    held: int
    contents: tuple[tuple[int, ...], ...]
    object_at: frozenset[tuple[int, int]]
    taken_from: frozenset[tuple[int, int]]
    opened: int
    clean: int
    hot: int
    cool: int
    sliced: int
    toggled: int


NOTHING = -1
"""`State.held` of an empty hand."""


@dataclass(frozen=True, slots=True)
class PlaceGoal:
    """`count` of the objects, each with all the flags (as `clean`), in one of the receptacles."""

    objects: frozenset[int]
    receptacles: tuple[int, ...]
    flags: tuple[str, ...]
    count: int


@dataclass(frozen=True, slots=True)
class LightGoal:
    """One of the objects in hand, and one of the lamps turned on and in a receptacle where the agent stands."""

    objects: frozenset[int]
    lamps: frozenset[int]


@dataclass(frozen=True, slots=True, eq=False)
class Game:
    """One game, ready to play and never changed by playing.

    `id` is relative and stable (task folder / trial folder), `task` the goal sentence, `scene` the number of the
    house's room where it is known (ALFRED numbers kitchens 1-30, living rooms 201-230, bedrooms 301-330 and
    bathrooms 401-430). `walkthrough` is the stored one, in the words of the commands, or None.
    """

    id: str
    split: str
    task: str
    task_type: TaskType
    scene: int | None
    variant: Variant
    objects: tuple[Object, ...]
    receptacles: tuple[Receptacle, ...]
    locations: tuple[Location, ...]
    initial: State
    goal: PlaceGoal | LightGoal
    walkthrough: tuple[str, ...] | None
    action_cache: dict[Any, Any] = field(default_factory=dict, repr=False)
    distance_cache: dict[Any, int | None] = field(default_factory=dict, init=False, repr=False)
    _fingerprint: list[str] = field(default_factory=list, init=False, repr=False)

    @property
    def fingerprint(self) -> str:
        """A hash of all that decides how the game plays and reads; its name, split and walkthrough do not.

        The same in every process, whatever file the game was read from.
        """
        if not self._fingerprint:
            content = (
                self.task,
                self.variant,
                self.objects,
                self.receptacles,
                self.locations,
                self.initial,
                self.goal,
            )
            self._fingerprint.append(hashlib.sha256(_canonical(content).encode()).hexdigest())
        return self._fingerprint[0]

    @property
    def grammar(self) -> Wording:
        """The version of the game's wording: "move" (since November 2024) or "put"."""
        return self.variant.version

    def treatment_at(self, r: int) -> Treatment | None:
        """Return what a receptacle can do to a held object, None for most."""
        kind = self.receptacles[r].type
        return TREATMENTS["clean"] if kind in self.variant.cleaning_types else HEATING_AND_COOLING.get(kind)


def _canonical(value: object) -> str:
    """Return a text that is the same for equal values in every process: sets are sorted."""
    if isinstance(value, tuple):
        return f"({','.join(map(_canonical, value))})"
    if isinstance(value, frozenset):
        return f"{{{','.join(sorted(map(_canonical, value)))}}}"
    if is_dataclass(value):
        return _canonical(tuple(getattr(value, field.name) for field in fields(value)))
    return repr(value)
