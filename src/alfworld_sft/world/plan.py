"""The shortest way to win from any state, for one who knows everything: played by `Planner`, stored as walkthrough.

A plan is searched for each *aim*, which says how the goal could come to hold: this object in that receptacle, these
two objects in that receptacle, this object in the hand beside that lamp. Every goal holds through one of its aims,
and within one aim only its own objects are worth carrying. So an A* over all aims at once, with estimates that are
nearly exact, looks at little more than the plan itself.

Moves that no shortest plan needs are left out, each for a reason given where it is left out. That plans are shortest
is held by tests: against a breadth-first search over all admissible commands, and the walkthroughs of real games.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from itertools import combinations
from math import inf
from typing import NamedTuple, Protocol, TypeAlias

from alfworld_sft.world.game import NOTHING, TREATMENTS_BY_FLAG, Game, LightGoal, PlaceGoal, State
from alfworld_sft.world.language import GO, OPEN, PUT, TAKE, TREAT, USE
from alfworld_sft.world.rules import Action, goal_reached

NOWHERE = -1
"""The location of a receptacle that cannot be reached; no agent is there."""


class UnsolvableError(ValueError):
    """No sequence of commands wins from this state."""


def shortest_plan(game: Game, state: State | None = None) -> tuple[str, ...]:
    """Return the commands of a shortest plan from `state` (default: the start); () where the goal holds already.

    Among plans of one length the choice is fixed: same state, same plan. Raises UnsolvableError where there is none.
    """
    return tuple(command_of(game, action) for action in shortest_actions(game, state))


def shortest_actions(game: Game, state: State | None = None) -> tuple[Action, ...]:
    """Return a shortest plan as actions; as `shortest_plan`."""
    state = game.initial if state is None else state
    if goal_reached(game, state):
        return ()
    house = _House(game, state)
    aims = _light_aims(house, game.goal) if isinstance(game.goal, LightGoal) else _place_aims(house, game.goal)
    return _search(aims)


def command_of(game: Game, action: Action) -> str:
    """Return the words of an action that a plan can have."""
    verb, o, r = action
    thing = game.objects[o].name if o >= 0 else ""
    place = game.receptacles[r].name if r >= 0 else ""
    match verb:
        case "go":
            return GO.format(place)
        case "open":
            return OPEN.format(place)
        case "take":
            return TAKE.format(thing, place)
        case "put":
            return PUT[game.grammar].format(thing, place)
        case "use":
            return USE.format(thing)
        case "clean" | "heat" | "cool":
            return TREAT[verb].format(thing, place)
    raise ValueError(f"no plan has the action {action}")


class _Node(NamedTuple):
    """What of a State matters to one aim.

    `shut` is a bit for each receptacle that must be opened before use; `where[i]` a bit for each receptacle that the
    aim's object i lies in; `ready` says whether the object has the flag asked for, or the lamp is on.
    """

    location: int
    held: int
    shut: int
    where: tuple[int, ...]
    ready: bool


_Move: TypeAlias = "tuple[Action, _Node]"


class _Aim(Protocol):
    """One way in which the goal can come to hold."""

    @property
    def start(self) -> _Node: ...

    def estimate(self, node: _Node) -> float:
        """Return a number of actions that every plan needs at least; 0 exactly where the aim is reached."""
        ...

    def moves(self, node: _Node) -> Iterator[_Move]:
        """Yield what a shortest plan could do next."""
        ...


def _search(aims: Iterable[_Aim]) -> tuple[Action, ...]:
    """A* from the starts of all aims; of equal prospects the one nearest to its end is followed first."""
    tried = list(aims)
    owed: list[tuple[float, float, int, int, _Node]] = []  # cost + estimate, estimate, tie-break, aim, node
    costs: dict[tuple[int, _Node], int] = {}
    came_from: dict[tuple[int, _Node], tuple[_Node, Action]] = {}
    for number, aim in enumerate(tried):
        estimate = aim.estimate(aim.start)
        if estimate < inf:
            owed.append((estimate, estimate, number, number, aim.start))
            costs[number, aim.start] = 0
    heapify(owed)
    made = len(tried)
    while owed:
        prospect, estimate, _, number, node = heappop(owed)
        if not estimate:
            return _actions_to(number, node, came_from)
        aim, cost = tried[number], costs[number, node]
        if cost + estimate < prospect:
            continue  # since reached on a shorter way, and followed from there
        for action, following in aim.moves(node):
            key = (number, following)
            if cost + 1 < costs.get(key, inf):
                costs[key] = cost + 1
                came_from[key] = (node, action)
                estimate = aim.estimate(following)
                if estimate < inf:
                    heappush(owed, (cost + 1 + estimate, estimate, made, number, following))
                    made += 1
    raise UnsolvableError("no sequence of commands wins from this state")


def _actions_to(
    number: int, node: _Node, came_from: dict[tuple[int, _Node], tuple[_Node, Action]]
) -> tuple[Action, ...]:
    actions: list[Action] = []
    while (number, node) in came_from:
        node, action = came_from[number, node]
        actions.append(action)
    return tuple(reversed(actions))


class _House:
    """What never changes in a game, arranged for the search, and the state that the plan begins in."""

    def __init__(self, game: Game, state: State) -> None:
        self._game = game
        self.objects = game.objects
        self.receptacles = game.receptacles
        self.location_of = [NOWHERE if place.location is None else place.location for place in game.receptacles]
        self.state = state
        openable = sum(1 << r for r, place in enumerate(game.receptacles) if place.openable)
        self._shut = openable & ~state.opened
        self._holders: dict[int, int] = {}
        for r, contents in enumerate(state.contents):
            for o in contents:
                self._holders[o] = self._holders.get(o, 0) | 1 << r

    def start(self, objects: tuple[int, ...], *, ready: bool) -> _Node:
        where = tuple(self._holders.get(o, 0) for o in objects)
        return _Node(self.state.location, self.state.held, self._shut, where, ready)

    def holds_type(self, r: int, o: int) -> bool:
        """Return whether the receptacle is one for objects like this."""
        return self.objects[o].type in self.receptacles[r].can_contain

    def stations(self, flag: str) -> tuple[int, ...]:
        """Return the receptacles within reach where a held object gets the flag."""
        treatment = TREATMENTS_BY_FLAG[flag]
        return tuple(
            r
            for r, location in enumerate(self.location_of)
            if location != NOWHERE and self._game.treatment_at(r) is treatment
        )

    def sources(self, o: int, where: int) -> list[tuple[int, int]]:
        """Return the receptacles, of those in `where`, that the object can be taken from, each with its location."""
        if not self.objects[o].pickupable:
            return []
        return [(r, self.location_of[r]) for r in _bits(where) if self.location_of[r] != NOWHERE]

    def ways(self, node: _Node, receptacles: Iterable[int]) -> Iterator[_Move]:
        """Yield the ways to these receptacles, one for each other location."""
        seen = {NOWHERE, node.location}
        for r in receptacles:
            location = self.location_of[r]
            if location not in seen:
                seen.add(location)
                yield Action("go", NOTHING, r), node._replace(location=location)

    def fetching(self, node: _Node, objects: tuple[int, ...], owed: Iterable[int]) -> Iterator[_Move]:
        """Yield the ways of an empty hand to the objects `objects[i]`, i in `owed`: take, open what holds it, go there.

        With an empty hand nothing else is worth opening or going to: what is opened to put something in can be
        opened then.
        """
        sources = [(i, r, location) for i in owed for r, location in self.sources(objects[i], node.where[i])]
        for i, r, location in sources:
            if location != node.location:
                continue
            if node.shut >> r & 1:
                yield Action("open", NOTHING, r), node._replace(shut=node.shut & ~(1 << r))
            else:
                where = _with(node.where, i, node.where[i] & ~(1 << r))
                yield Action("take", objects[i], r), node._replace(held=objects[i], where=where)
        yield from self.ways(node, [r for _, r, _ in sources])

    def putting_down(self, node: _Node, objects: tuple[int, ...]) -> Iterator[_Move]:
        """Yield the ways to be rid of what is held: put it down here, open what could take it, or go elsewhere."""
        fitting = [r for r in range(len(self.receptacles)) if self.holds_type(r, node.held)]
        for r in fitting:
            if self.location_of[r] != node.location:
                continue
            if node.shut >> r & 1:
                yield Action("open", NOTHING, r), node._replace(shut=node.shut & ~(1 << r))
            else:
                where = node.where
                if node.held in objects:
                    i = objects.index(node.held)
                    where = _with(where, i, where[i] | 1 << r)
                yield Action("put", node.held, r), node._replace(held=NOTHING, where=where)
        yield from self.ways(node, fitting)


class _Place:
    """The receptacle that an aim wants filled with an object of one type."""

    def __init__(self, house: _House, r: int, o: int) -> None:
        self._house = house
        self.r = r
        self.location = house.location_of[r]
        self.fillable = self.location != NOWHERE and house.holds_type(r, o)

    def filling_cost(self, location: int, shut: int) -> float:
        """Count going there, opening it and putting something in."""
        return (location != self.location) + (shut >> self.r & 1) + 1 if self.fillable else inf

    def filling(self, node: _Node, i: int) -> Iterator[_Move]:
        """Yield the way of the held object, the aim's object i, into the receptacle."""
        r = self.r
        if self.location != node.location:
            yield from self._house.ways(node, (r,))
        elif node.shut >> r & 1:
            yield Action("open", NOTHING, r), node._replace(shut=node.shut & ~(1 << r))
        else:
            where = _with(node.where, i, node.where[i] | 1 << r)
            yield Action("put", node.held, r), node._replace(held=NOTHING, where=where)


class _OneInPlace:
    """Object `o` in receptacle `r`, with the flag if there is one. What is to get a flag must be in the hand."""

    def __init__(self, house: _House, o: int, r: int, flags: tuple[str, ...], stations: tuple[int, ...]) -> None:
        self._house, self._o, self._place = house, o, _Place(house, r, o)
        ready = all(getattr(house.state, flag) >> o & 1 for flag in flags)
        self._verb = TREATMENTS_BY_FLAG[flags[0]].verb if flags else None
        self._stations = stations
        self._station_locations = {house.location_of[r] for r in self._stations}
        self.start = house.start((o,), ready=ready)

    def estimate(self, node: _Node) -> float:
        location, held, shut, (where,), ready = node
        if held == self._o:
            return self._estimate_in_hand(location, shut, where, ready)
        if ready and where >> self._place.r & 1:
            return 0
        nearest = inf
        for r, source in self._house.sources(self._o, where):
            left = 1 << r
            taking = (location != source) + (shut >> r & 1) + 1
            nearest = min(nearest, taking + self._estimate_in_hand(source, shut & ~left, where & ~left, ready))
        return nearest + (held != NOTHING)

    def _estimate_in_hand(self, location: int, shut: int, where: int, ready: bool) -> float:
        placed = where >> self._place.r & 1
        if ready:
            return 0 if placed else self._place.filling_cost(location, shut)
        stations = self._station_locations
        if not stations:
            return inf
        if placed or location in stations:
            return (location not in stations) + 1 + (0 if placed else self._place.filling_cost(location, shut))
        at_station = self._place.location if self._place.location in stations else NOWHERE
        return 2 + self._place.filling_cost(at_station, shut)

    def moves(self, node: _Node) -> Iterator[_Move]:
        house = self._house
        if node.held == NOTHING:
            yield from house.fetching(node, (self._o,), (0,))
        elif node.held != self._o:
            yield from house.putting_down(node, (self._o,))
        elif node.ready or self._verb is None:
            yield from self._place.filling(node, 0)
        else:
            for r in self._stations:
                if house.location_of[r] == node.location:
                    yield Action(self._verb, self._o, r), node._replace(ready=True)
            yield from house.ways(node, self._stations)


class _TwoInPlace:
    """Two objects in receptacle `r`.

    A held object that is wanted there is carried there at once: to put it down elsewhere and fetch it later costs two
    actions more and saves none.
    """

    def __init__(self, house: _House, objects: tuple[int, int], r: int) -> None:
        self._house, self._objects, self._place = house, objects, _Place(house, r, objects[0])
        self.start = house.start(objects, ready=True)

    def _missing(self, node: _Node) -> list[int]:
        return [i for i in (0, 1) if not node.where[i] >> self._place.r & 1]

    def estimate(self, node: _Node) -> float:
        missing = self._missing(node)
        if not missing:
            return 0
        place, (location, held, shut, where, _) = self._place, node
        if not place.fillable:
            return inf
        in_hand = [i for i in missing if self._objects[i] == held]
        if in_hand:
            cost: float = place.filling_cost(location, shut)
            return cost + sum(self._trip(i, node, place.location, shut) for i in missing if i not in in_hand)
        opening = (shut >> place.r & 1) + (held != NOTHING)
        if len(missing) == 1:
            return opening + self._trip(missing[0], node, location, shut)
        # What holds both is opened once.
        return opening + min(
            self._trip(a, node, location, shut) + self._trip(b, node, place.location, shut & ~where[a])
            for a, b in ((0, 1), (1, 0))
        )

    def _trip(self, i: int, node: _Node, location: int, shut: int) -> float:
        """Count going from a location to object i, taking it, carrying it to the place, and putting it down."""
        nearest = inf
        for r, source in self._house.sources(self._objects[i], node.where[i]):
            there_and_back = (location != source) + (source != self._place.location)
            nearest = min(nearest, there_and_back + (shut >> r & 1) + 2)
        return nearest

    def moves(self, node: _Node) -> Iterator[_Move]:
        missing = self._missing(node)
        if node.held == NOTHING:
            yield from self._house.fetching(node, self._objects, missing)
            return
        for i in missing:
            if node.held == self._objects[i]:
                yield from self._place.filling(node, i)
                return
        yield from self._house.putting_down(node, self._objects)


class _BesideLamp:
    """Object `o` in the hand, where `lamp` is and is on. The lamp can be turned on last: one ends beside it."""

    def __init__(self, house: _House, o: int, lamp: int) -> None:
        self._house, self._o, self._lamp = house, o, lamp
        self._objects = (o,) if o == lamp else (o, lamp)
        self.start = house.start(self._objects, ready=bool(house.state.toggled >> lamp & 1))

    def estimate(self, node: _Node) -> float:
        location, held, shut, where, ready = node
        if held == self._lamp != self._o:
            return 2 + (not ready)  # to put it down, and to take the object
        if held == self._o:
            return self._estimate_in_hand(location, where[-1], ready)
        nearest = inf
        for r, source in self._house.sources(self._o, where[0]):
            beside = where[-1] & ~(1 << r) if self._lamp == self._o else where[-1]
            taking = (location != source) + (shut >> r & 1) + 1
            nearest = min(nearest, taking + self._estimate_in_hand(source, beside, ready))
        return nearest + (held != NOTHING)

    def _estimate_in_hand(self, location: int, beside: int, ready: bool) -> float:
        lit = {self._house.location_of[r] for r in _bits(beside)} - {NOWHERE}
        return (location not in lit) + (not ready) if lit else inf

    def moves(self, node: _Node) -> Iterator[_Move]:
        house = self._house
        if node.held == NOTHING:
            yield from house.fetching(node, self._objects, (0,))
        elif node.held != self._o:
            yield from house.putting_down(node, self._objects)
        else:
            beside = _bits(node.where[-1])
            if any(house.location_of[r] == node.location for r in beside):
                yield Action("use", self._lamp), node._replace(ready=True)
            yield from house.ways(node, beside)


def _bits(number: int) -> list[int]:
    found = []
    while number:
        lowest = number & -number
        found.append(lowest.bit_length() - 1)
        number ^= lowest
    return found


def _with(where: tuple[int, ...], i: int, value: int) -> tuple[int, ...]:
    return (*where[:i], value, *where[i + 1 :])


def _place_aims(house: _House, goal: PlaceGoal) -> Iterator[_Aim]:
    if goal.count == 1:
        stations = house.stations(goal.flags[0]) if goal.flags else ()
        for o in sorted(goal.objects):
            for r in goal.receptacles:
                yield _OneInPlace(house, o, r, goal.flags, stations)
    else:
        for pair in combinations(sorted(goal.objects), 2):
            for r in goal.receptacles:
                yield _TwoInPlace(house, pair, r)


def _light_aims(house: _House, goal: LightGoal) -> Iterator[_Aim]:
    for o in sorted(goal.objects):
        for lamp in sorted(goal.lamps):
            yield _BesideLamp(house, o, lamp)
