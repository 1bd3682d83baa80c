"""Which commands are admissible in a State, and what does each of them mean?

The commands are the reference's, in its order; a game keeps those of the last states, because they repeat.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping
from typing import NamedTuple

from alfworld_sft.world.game import NOTHING, Game, State
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
from alfworld_sft.world.rules import Action


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
