"""What can be done in a State, what comes of it, and whether the goal is reached: pure functions.

The rules are those of ALFWorld's PDDL domain as Fast Downward grounds it, with its oddities: an object can be in
two receptacles, `heat` needs no open microwave, `use` looks into closed drawers, and no action undoes `clean`.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping
from typing import Literal, NamedTuple

from alfworld_sft.world.game import NOTHING, TREATMENTS, Game, LightGoal, State, Treatment
from alfworld_sft.world.language import (
    CLOSE,
    EXAMINE,
    GO,
    HELP,
    INVENTORY,
    LOOK,
    OPEN,
    PUT,
    SLICE,
    TAKE,
    TREAT,
    USE,
)

Verb = Literal[
    "go", "open", "close", "take", "put", "examine receptacle", "examine object", "use", "clean", "heat", "cool",
    "slice", "look", "inventory", "help",
]  # fmt: skip


class Action(NamedTuple):
    """A command understood: the verb with the object and the receptacle it speaks of (-1 where none)."""

    verb: Verb
    object: int = NOTHING
    receptacle: int = NOTHING


class Admissible(NamedTuple):
    """The admissible commands in the reference's order, and what each of them means."""

    commands: tuple[str, ...]
    here: Mapping[str, Action]
    """What is done at the receptacles in reach."""
    ways: Mapping[str, Action]
    """Going to any receptacle, those in reach among them."""
    in_reach: tuple[int, ...]

    def action(self, command: str) -> Action | None:
        """Return what an admissible command means, None for any other text."""
        action = self.here.get(command)
        if action is None:
            action = self.ways.get(command)
            if action is not None and action.receptacle in self.in_reach:
                return None
        return action


_KNIVES = frozenset({"knifetype", "butterknifetype"})
_CACHE_ENTRIES = 2048
_INVENTORY, _LOOK, _HELP = Action("inventory"), Action("look"), Action("help")


def admissible_actions(game: Game, state: State) -> Admissible:
    """Return what can be done, as sorted unique commands.

    The answer depends on little of the state and repeats itself, so the game keeps the last ones.
    """
    cache = game.action_cache
    place: _Place | None = cache.get(state.location)
    if place is None:
        place = cache[state.location] = _Place(game, state.location)
    contents, held = state.contents, state.held
    key = (state.location, held, state.opened & place.bits, *[contents[r] for r in place.receptacles])
    if held != NOTHING and game.objects[held].type in _KNIVES:
        key = (*key, state.object_at)
    found: Admissible | None = cache.get(key)
    if found is None:
        if len(cache) >= _CACHE_ENTRIES:
            cache.clear()
        found = cache[key] = _derive_admissible(game, state, place)
    return found


class _Place:
    """What never changes at a location: the receptacles in reach, a bit for each, and the commands always given."""

    def __init__(self, game: Game, location: int) -> None:
        ways: dict[str, Action] | None = game.action_cache.get("ways")
        if ways is None:
            reachable = ((GO.format(p.name), r) for r, p in enumerate(game.receptacles) if p.location is not None)
            ways = game.action_cache["ways"] = {command: Action("go", NOTHING, r) for command, r in sorted(reachable)}
        self.ways = ways
        self.receptacles = game.locations[location].receptacles
        self.bits = sum([1 << r for r in self.receptacles])
        self.always = {INVENTORY.template: _INVENTORY, LOOK.template: _LOOK}
        if game.variant.has_help:
            self.always[HELP.template] = _HELP
        self.ways_out = list(ways)
        for r in self.receptacles:
            name = game.receptacles[r].name
            self.always[EXAMINE.format(name)] = Action("examine receptacle", NOTHING, r)
            self.ways_out.remove(GO.format(name))
        self.takes: dict[tuple[int, int], tuple[str, Action]] = {}
        treatments = {r: game.treatment_at(r) for r in self.receptacles}
        self.treatments = {r: treatment for r, treatment in treatments.items() if treatment}


def _derive_admissible(game: Game, state: State, place: _Place) -> Admissible:
    actions = place.always.copy()
    for r in place.receptacles:
        _add_actions_at(game, state, r, actions, place)
    if state.held != NOTHING:
        held = game.objects[state.held]
        actions[EXAMINE.format(held.name)] = Action("examine object", state.held)
        if held.type in _KNIVES:
            for o, location in state.object_at:
                if location == state.location and game.objects[o].sliceable:
                    actions[SLICE.format(game.objects[o].name, held.name)] = Action("slice", o)
    commands = sorted(actions)
    first = bisect(commands, GO.prefix)
    commands[first:first] = place.ways_out
    return Admissible(tuple(commands), actions, place.ways, place.receptacles)


def _add_actions_at(game: Game, state: State, r: int, actions: dict[str, Action], place: _Place) -> None:
    """Add what can be done at one receptacle in reach."""
    receptacle = game.receptacles[r]
    name = receptacle.name
    is_open = state.opened >> r & 1
    if receptacle.openable:
        if is_open:
            actions[CLOSE.format(name)] = Action("close", NOTHING, r)
        else:
            actions[OPEN.format(name)] = Action("open", NOTHING, r)
    accessible = is_open or not receptacle.openable
    can_take = accessible and state.held == NOTHING
    for o in state.contents[r]:
        thing = game.objects[o]
        if thing.toggleable:
            actions[USE.format(thing.name)] = Action("use", o)
        if can_take and thing.pickupable:
            words = place.takes.get((o, r))
            if words is None:
                words = place.takes[o, r] = (TAKE.format(thing.name, name), Action("take", o, r))
            actions[words[0]] = words[1]
    if state.held != NOTHING:
        held = game.objects[state.held]
        if accessible and held.type in receptacle.can_contain:
            actions[PUT[game.variant.version].format(held.name, name)] = Action("put", state.held, r)
        treatment = place.treatments.get(r)
        if treatment and getattr(held, treatment.ability):
            actions[TREAT[treatment.verb].format(held.name, name)] = Action(treatment.verb, state.held, r)


def transition(game: Game, state: State, action: Action) -> State:
    """Return the state after an admissible action."""
    verb, o, r = action
    match verb:
        case "go":
            location = game.receptacles[r].location
            return state if location is None else State(location, *state[1:])
        case "open":
            return state._replace(opened=state.opened | 1 << r)
        case "close":
            return state._replace(opened=state.opened & ~(1 << r))
        case "take":
            return State(
                state.location,
                o,
                _with_contents(state, r, tuple([i for i in state.contents[r] if i != o])),
                state.object_at - {(o, state.location)},
                state.taken_from | {(o, r)},
                *state[5:],
            )
        case "put":
            return State(
                state.location,
                NOTHING,
                _with_contents(state, r, tuple(sorted({*state.contents[r], o}))),
                state.object_at | {(o, state.location)},
                state.taken_from - {(o, r)},
                *state[5:],
            )
        case "clean" | "heat" | "cool":
            return _treated(state, o, TREATMENTS[verb])
        case "slice":
            return state._replace(sliced=state.sliced | 1 << o)
        case "use":
            return state._replace(toggled=state.toggled | 1 << o)
    return state


def _treated(state: State, o: int, treatment: Treatment) -> State:
    flags = {treatment.flag: getattr(state, treatment.flag) | 1 << o}
    if treatment.undoes:
        undone = TREATMENTS[treatment.undoes].flag
        flags[undone] = getattr(state, undone) & ~(1 << o)
    return state._replace(**flags)


def _with_contents(state: State, r: int, contents: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    return (*state.contents[:r], contents, *state.contents[r + 1 :])


def goal_reached(game: Game, state: State) -> bool:
    """Return whether the task is done in this state."""
    goal = game.goal
    if isinstance(goal, LightGoal):
        if state.held not in goal.objects or not state.toggled:
            return False
        here = game.locations[state.location].receptacles
        return any(o in goal.lamps and state.toggled >> o & 1 for r in here for o in state.contents[r])
    able = -1  # a bit for each object that has all the flags
    for flag in goal.flags:
        able &= getattr(state, flag)
    if not able:
        return False
    wanted, contents = goal.objects, state.contents
    for r in goal.receptacles:
        held = contents[r]
        if held and not wanted.isdisjoint(held) and sum(o in wanted and able >> o & 1 for o in held) >= goal.count:
            return True
    return False
