"""Rooms for games: scene number → the room, always the same one.

A room has its furniture, with where it stands, which of it can be opened and which shares a location; its fixtures;
and the types of things that its games have. `sketch` says in a moment what a room has; `build` makes all of it.

Scene numbers are outside those of the real games (kitchens 1-30, living rooms 201-230, bedrooms 301-330, bathrooms
401-430), and which numbers a split draws from decides which rooms it can show:

    train, valid_seen    the 60 rooms of each kind with the numbers 31-90, 231-290, 331-390, 431-490
    valid_unseen         the 9 rooms of each kind with the numbers 91-99, 291-299, 391-399, 491-499
    a stream of games    a million rooms of each kind: 1000000-1999999 kitchens, and so on
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from alfworld_sft.errors import UserError
from alfworld_sft.games.generator.blueprint import Furniture, Point, Spot, Thing
from alfworld_sft.games.generator.dice import Choices, Dice
from alfworld_sft.games.generator.facts import ROOMS, Room, ThingFacts, statistics

EXCHANGED = 0.3
"""How often the number of a furniture type comes from another real room than the rest."""
USUALLY_OPENABLE = frozenset({"Cabinet", "Drawer", "Safe"})
FIXED_SHUT_PULL = 0.6
"""How much less a cabinet or drawer holds that cannot be opened than one that can, as in the real games."""
PULL = (0.3, 1.7)
"""How much a piece of furniture may hold, against the mean of its type: some countertops are large."""
BESIDE_FURNITURE = 0.13
"""Share of the things in no furniture that are at a location of some, in the real games."""
HALF_SIZE = 14
"""Rooms reach 14 grid steps of 25 cm to each side."""
STEP_CM = 25
HEIGHT_CM = 180
MILLION = 1_000_000
ROOMS_KEPT = 320
"""More than all the rooms of a set of games: 60 and 9 of each kind."""


class Difficulty(NamedTuple):
    """How hard a game is to search; `NORMAL` is that of the real games.

    `things`: how many copies of things that are not wanted, against the real number. `furniture`: the same for
    furniture that a room has several of. `closed`: how many of it can be opened, and so is closed at first.
    `unlikely`: share of the things, and of the games' wanted ones, that lie just anywhere they fit.
    """

    things: float = 1.0
    furniture: float = 1.0
    closed: float = 1.0
    unlikely: float = 0.0


EASY = Difficulty(things=0.6, furniture=0.5, closed=0.4)
NORMAL = Difficulty()
HARD = Difficulty(things=1.5, furniture=1.4, closed=1.25, unlikely=0.5)
DIFFICULTIES: Mapping[str, Difficulty] = {"easy": EASY, "normal": NORMAL, "hard": HARD}


def difficulty_of(value: str) -> Difficulty:
    """Return a difficulty by name, or by a number from 0 (easy) over 1 (normal) to 2 (hard); raises UserError."""
    if value in DIFFICULTIES:
        return DIFFICULTIES[value]
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 2:
        raise UserError(f"unknown difficulty {value!r}; there are {', '.join(DIFFICULTIES)}, or a number from 0 to 2")
    low, high, share = (EASY, NORMAL, number) if number < 1 else (NORMAL, HARD, number - 1)
    return Difficulty(*(round(a + (b - a) * share, 4) for a, b in zip(low, high, strict=True)))


class Scenes(NamedTuple):
    """The rooms that games are set in: for each kind the numbers from `first` on, `rooms` of them."""

    first: int
    rooms: int

    def number(self, room: Room, index: int) -> int:
        """Return the scene number of the room with this index below `rooms`."""
        kind = ROOMS.index(room)
        if self.first >= MILLION:
            return (kind + 1) * MILLION + index
        return (0, 2, 3, 4)[kind] * 100 + self.first + index


TRAIN_SCENES = Scenes(31, 60)
UNSEEN_SCENES = Scenes(91, 9)
ENDLESS_SCENES = Scenes(MILLION, MILLION)


class Sketch(NamedTuple):
    """What a room has: furniture type → (how many, how many that open), fixture type → how many, types of things."""

    furniture: Mapping[str, tuple[int, int]]
    fixtures: Mapping[str, int]
    things: frozenset[str]


@dataclass(frozen=True, slots=True)
class House:
    """A room without its games' things. `spots` and `furniture` are in no order; `fixtures` lie where they always do.

    `pulls`: for each furniture type the pieces by their numbers, and how much each of them draws.
    """

    number: int
    room: Room
    sketch: Sketch
    spots: tuple[Spot, ...]
    furniture: tuple[Furniture, ...]
    fixtures: tuple[Thing, ...]
    pulls: Mapping[str, Sequence[tuple[int, float]]]
    _places: dict[str, Choices[tuple[int, ...]] | None] = field(default_factory=dict, repr=False)

    def places(self, thing_type: str, facts: ThingFacts) -> Choices[tuple[int, ...]] | None:
        """Return where such a thing usually is: numbers of the furniture that holds it; None where nothing does."""
        if thing_type not in self._places:
            self._places[thing_type] = _usual_places(self.pulls, facts)
        return self._places[thing_type]


@lru_cache(maxsize=ROOMS_KEPT)
def sketch(room: Room, number: int, difficulty: Difficulty = NORMAL) -> Sketch:
    """Return what the room of this number has."""
    dice = Dice(f"sketch {room} {number} {tuple(difficulty)}")
    facts = statistics().rooms[room]
    base = dice.choose(facts.layouts)
    furniture: dict[str, tuple[int, int]] = {}
    for t in facts.furniture_types:
        numbers = (dice.choose(facts.layouts) if dice.chance(EXCHANGED) else base).get(t)
        if numbers is not None:
            furniture[t] = _at_difficulty(*numbers, difficulty, dice)
    fixtures = {t: dice.choose(each.copies) for t, each in facts.fixtures.items() if dice.chance(each.present)}
    things = frozenset(t for t, each in facts.things.items() if dice.chance(each.present))
    return Sketch(furniture, fixtures, things)


@lru_cache(maxsize=ROOMS_KEPT)
def build(room: Room, number: int, difficulty: Difficulty = NORMAL) -> House:
    """Return the room of this number."""
    plan = sketch(room, number, difficulty)
    dice = Dice(f"build {room} {number} {tuple(difficulty)}")
    kinds = [(t, i < openable) for t, (n, openable) in plan.furniture.items() for i in range(n)]
    space = Space(dice)
    furniture: list[Furniture] = []
    for group in _groups(kinds, statistics().rooms[room].sharing, dice):
        spot = space.new_spot()
        for t, openable in group:
            furniture.append(Furniture(t, space.new_point(t, space.spots[spot], reach=35), spot, openable))
    pulls: dict[str, list[tuple[int, float]]] = {}
    for r, place in enumerate(furniture):
        fixed_shut = place.type in USUALLY_OPENABLE and not place.openable
        pulls.setdefault(place.type, []).append((r, dice.between(*PULL) * (FIXED_SHUT_PULL if fixed_shut else 1)))
    fixtures: list[Thing] = []
    for t, copies in plan.fixtures.items():
        facts = statistics().rooms[room].fixtures[t]
        places = _usual_places(pulls, facts)
        for _ in range(copies):
            held = places is not None and not dice.chance(facts.nowhere)
            fixtures.append(space.put(t, dice.choose(places) if places and held else (), furniture))
    return House(number, room, plan, tuple(space.spots), tuple(furniture), tuple(fixtures), pulls)


class Space:
    """The points and spots of a room that are still free."""

    def __init__(self, dice: Dice, spots: Sequence[Spot] = (), taken: Sequence[Thing | Furniture] = ()) -> None:
        self.spots = list(spots)
        self._spots = set(spots)
        self._dice = dice
        self._taken: set[tuple[str, Point]] = {(each.type, each.at) for each in taken}

    def new_spot(self) -> int:
        """Add a spot and return its number."""
        dice = self._dice
        while True:
            x, z = dice.below(2 * HALF_SIZE + 1) - HALF_SIZE, dice.below(2 * HALF_SIZE + 1) - HALF_SIZE
            spot = Spot(x, z, dice.below(4), dice.pick((0, 15, 30, 45, 60)))
            if spot not in self._spots:
                self._spots.add(spot)
                self.spots.append(spot)
                return len(self.spots) - 1

    def new_point(self, thing_type: str, near: Spot | Point, reach: int) -> Point:
        """Return a point near another, where nothing of the type is yet."""
        x, z = (near.x * STEP_CM, near.z * STEP_CM) if isinstance(near, Spot) else (near.x, near.z)
        dice, width = self._dice, 2 * reach + 1
        while True:
            point = Point(x + dice.below(width) - reach, dice.below(HEIGHT_CM), z + dice.below(width) - reach)
            if (thing_type, point) not in self._taken:
                self._taken.add((thing_type, point))
                return point

    def put(self, thing_type: str, holders: tuple[int, ...], furniture: Sequence[Furniture]) -> Thing:
        """Return a thing that the furniture holds, or that is at a spot of its own (mostly)."""
        if holders:
            holder = furniture[holders[0]]
            return Thing(thing_type, self.new_point(thing_type, holder.at, reach=25), holders, holder.spot)
        spot = self._dice.pick(furniture).spot if self._dice.chance(BESIDE_FURNITURE) else self.new_spot()
        return Thing(thing_type, self.new_point(thing_type, self.spots[spot], reach=60), (), spot)


def _at_difficulty(number: int, openable: int, difficulty: Difficulty, dice: Dice) -> tuple[int, int]:
    if number > 1:
        share = openable / number
        number = max(1, dice.round(number * difficulty.furniture))
        openable = dice.round(number * share)
    return number, min(number, dice.round(openable * difficulty.closed)) if difficulty.closed != 1 else openable


def _groups(
    kinds: list[tuple[str, bool]], sharing: Sequence[tuple[tuple[str, ...], float]], dice: Dice
) -> list[list[tuple[str, bool]]]:
    """Divide furniture into the groups that share a location."""
    dice.shuffle(kinds)
    left: dict[str, list[tuple[str, bool]]] = {}
    for kind in kinds:
        left.setdefault(kind[0], []).append(kind)
    groups: list[list[tuple[str, bool]]] = []
    for types, rate in sharing:
        needs = {t: types.count(t) for t in types}
        chances = min(len(left.get(t, ())) // n for t, n in needs.items())
        for _ in range(chances):
            if dice.chance(rate):
                groups.append([left[t].pop() for t in types])
    return groups + [[kind] for t in sorted(left) for kind in left[t]]


def _usual_places(
    pulls: Mapping[str, Sequence[tuple[int, float]]], facts: ThingFacts
) -> Choices[tuple[int, ...]] | None:
    """Return the places of a thing by number; where several pieces hold it at once, the first that can."""
    weighted: list[tuple[tuple[int, ...], float]] = []
    for place, rate in facts.places.items():
        if "+" not in place:
            weighted += [((r,), rate * pull) for r, pull in pulls.get(place, ())]
            continue
        types = place.split("+")
        left = {t: [r for r, _ in pulls.get(t, ())] for t in types}
        if all(len(left[t]) >= types.count(t) for t in types):
            weighted.append((tuple(left[t].pop(0) for t in types), rate))
    return Choices(weighted) if weighted else None
