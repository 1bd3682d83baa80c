"""What does an action change in a State, and is the goal reached? Pure functions.

The rules are those of ALFWorld's PDDL domain as Fast Downward grounds it, with its oddities: an object can be in
two receptacles, `heat` needs no open microwave, `use` looks into closed drawers, and no action undoes `clean`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from alfworld_sft.world.game import NOTHING, Game, LightGoal, State
from alfworld_sft.world.treatments import TREATMENTS, Treatment

Verb = Literal[
    "go", "open", "close", "take", "put", "examine receptacle", "examine object", "use", "clean", "heat", "cool",
    "slice", "look", "inventory", "help",
]  # fmt: skip


class Action(NamedTuple):
    """A command understood: the verb with the object and the receptacle it speaks of (-1 where none)."""

    verb: Verb
    object: int = NOTHING
    receptacle: int = NOTHING


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
            return _treat(state, o, TREATMENTS[verb])
        case "slice":
            return state._replace(sliced=state.sliced | 1 << o)
        case "use":
            return state._replace(toggled=state.toggled | 1 << o)
    return state


def _treat(state: State, o: int, treatment: Treatment) -> State:
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
