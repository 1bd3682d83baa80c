"""What can be done in a State, what comes of it, and whether the goal is reached: pure functions.

The rules are those of ALFWorld's PDDL domain as Fast Downward grounds it, with its oddities: an object can be in
two receptacles, `heat` needs no open microwave, `use` looks into closed drawers, and no action undoes `clean`.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

from alfworld_sft.world.gamefile import NOTHING, Game, LightGoal, State

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
    elsewhere: Mapping[str, Action]

    def action(self, command: str) -> Action | None:
        """Return what an admissible command means, None for any other text."""
        return self.here.get(command) or self.elsewhere.get(command)


HEATING_TYPE = "microwavetype"
COOLING_TYPE = "fridgetype"
_KNIVES = frozenset({"knifetype", "butterknifetype"})
_CACHE_ENTRIES = 2048
_INVENTORY, _LOOK, _HELP = Action("inventory"), Action("look"), Action("help")


def admissible_actions(game: Game, state: State) -> Admissible:
    """Return what can be done, as sorted unique commands.

    The answer depends on little of the state and repeats itself, so the game keeps the last ones.
    """
    location, held = state.location, state.held
    way = game.action_cache.get(location)
    if way is None:
        way = game.action_cache[location] = _way_from(game, location)
    here, here_bits, _, _ = way
    contents = state.contents
    key = (location, held, state.opened & here_bits, *[contents[r] for r in here])
    if held != NOTHING and game.objects[held].type in _KNIVES:
        key = (*key, state.object_at)
    found: Admissible | None = game.action_cache.get(key)
    if found is None:
        if len(game.action_cache) >= _CACHE_ENTRIES:
            game.action_cache.clear()
        found = game.action_cache[key] = _derive_admissible(game, state, way)
    return found


_Way: TypeAlias = "tuple[tuple[int, ...], int, tuple[str, ...], dict[str, Action]]"


def _way_from(game: Game, location: int) -> _Way:
    """Return what never changes at a location: receptacles in reach, a bit for each, and the ways to all others."""
    everywhere = game.action_cache.get("everywhere")
    if everywhere is None:
        reachable = ((f"go to {p.name}", r) for r, p in enumerate(game.receptacles) if p.location is not None)
        everywhere = {command: Action("go", NOTHING, r) for command, r in sorted(reachable)}
        game.action_cache["everywhere"] = everywhere
    here = game.locations[location].receptacles
    ways = {command: action for command, action in everywhere.items() if action.receptacle not in here}
    return here, sum(1 << r for r in here), tuple(ways), ways


def _derive_admissible(game: Game, state: State, way: _Way) -> Admissible:
    here, _, ways, elsewhere = way
    actions = {"inventory": _INVENTORY, "look": _LOOK}
    if game.variant.has_help:
        actions["help"] = _HELP
    for r in here:
        _add_actions_at(game, state, r, actions)
    if state.held != NOTHING:
        held = game.objects[state.held]
        actions[f"examine {held.name}"] = Action("examine object", state.held)
        if held.type in _KNIVES:
            for o, location in state.object_at:
                if location == state.location and game.objects[o].sliceable:
                    actions[f"slice {game.objects[o].name} with {held.name}"] = Action("slice", o)
    commands = sorted(actions)
    first = bisect(commands, "go to ")
    return Admissible((*commands[:first], *ways, *commands[first:]), actions, elsewhere)


def _add_actions_at(game: Game, state: State, r: int, actions: dict[str, Action]) -> None:
    receptacle = game.receptacles[r]
    name = receptacle.name
    actions[f"examine {name}"] = Action("examine receptacle", NOTHING, r)
    is_open = state.opened >> r & 1
    if receptacle.openable:
        if is_open:
            actions[f"close {name}"] = Action("close", NOTHING, r)
        else:
            actions[f"open {name}"] = Action("open", NOTHING, r)
    accessible = is_open or not receptacle.openable
    hand_empty = state.held == NOTHING
    for o in state.contents[r]:
        thing = game.objects[o]
        if thing.toggleable:
            actions[f"use {thing.name}"] = Action("use", o)
        if accessible and hand_empty and thing.pickupable:
            actions[f"take {thing.name} from {name}"] = Action("take", o, r)
    if hand_empty:
        return
    held = game.objects[state.held]
    if accessible and held.type in receptacle.can_contain:
        words = f"move {held.name} to {name}" if game.variant.version == "move" else f"put {held.name} in/on {name}"
        actions[words] = Action("put", state.held, r)
    if held.cleanable and receptacle.type in game.variant.cleaning_types:
        actions[f"clean {held.name} with {name}"] = Action("clean", state.held, r)
    if held.heatable and receptacle.type == HEATING_TYPE:
        actions[f"heat {held.name} with {name}"] = Action("heat", state.held, r)
    if held.coolable and receptacle.type == COOLING_TYPE:
        actions[f"cool {held.name} with {name}"] = Action("cool", state.held, r)


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
        case "clean":
            return state._replace(clean=state.clean | 1 << o)
        case "heat":
            return state._replace(hot=state.hot | 1 << o, cool=state.cool & ~(1 << o))
        case "cool":
            return state._replace(cool=state.cool | 1 << o, hot=state.hot & ~(1 << o))
        case "slice":
            return state._replace(sliced=state.sliced | 1 << o)
        case "use":
            return state._replace(toggled=state.toggled | 1 << o)
    return state


def _with_contents(state: State, r: int, contents: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    return (*state.contents[:r], contents, *state.contents[r + 1 :])


def goal_reached(game: Game, state: State) -> bool:
    """Tell whether the task is done in this state."""
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
    contents = state.contents
    for r in goal.receptacles:
        held = contents[r]
        if goal.objects.isdisjoint(held):
            continue
        if sum(o in goal.objects and able >> o & 1 for o in held) >= goal.count:
            return True
    return False
