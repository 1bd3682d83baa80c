"""State → words: what the game says at its start and after each command.

Word for word the texts that the reference derives from the grammar in the game files, with its oddities: a look
around from the middle of the room lists everything at the start and nothing later, and `use` always turns on.
"""

from __future__ import annotations

from alfworld_sft.world.game import Game, State
from alfworld_sft.world.language import (
    ARRIVED,
    BANNER,
    CARRYING,
    CHANGED,
    CLOSED,
    CONTAINS,
    EMPTY_HANDED,
    FACING,
    HELP_TEXT,
    HOLDS,
    IN_ROOM,
    IS_CLOSED,
    IS_ON,
    IS_OPEN,
    NOT_SPECIAL,
    NOTHING,
    OPENED,
    PUT_DOWN,
    SLICED,
    TAKEN,
    TASK_PREFIX,
    TREATED,
    TURNED_ON,
    WITH_ARTICLE,
    WITHOUT_ARTICLE,
    condition,
)
from alfworld_sft.world.rules import Action


def opening(game: Game) -> str:
    """Return the text at reset: banner, a look around, and the task."""
    return f"{BANNER}\n\n{opening_look(game)}\n\n{TASK_PREFIX}{game.task}"


def opening_look(game: Game) -> str:
    """Return the middle part of the opening: what is seen at the start."""
    if game.locations[game.initial.location].receptacles:
        return _look(game, game.initial)
    everything = [place.name for place in game.receptacles if place.location is not None]
    return IN_ROOM.format(WITH_ARTICLE.format(everything))


def feedback(game: Game, state: State, action: Action) -> str:
    """Return what the game says of an action; `state` is the one after it."""
    verb, o, r = action
    version = game.variant.version
    thing = game.objects[o].name if o >= 0 else ""
    place = game.receptacles[r].name if r >= 0 else ""
    match verb:
        case "go":
            arrived = place if version == "move" else game.locations[state.location].name
            return ARRIVED.format(arrived, _receptacle(game, state, r))
        case "open":
            return OPENED.format(place, _receptacle(game, state, r))
        case "close":
            return CLOSED.format(place)
        case "take":
            return TAKEN.format(thing, place)
        case "put":
            return PUT_DOWN[version].format(thing, place)
        case "examine receptacle":
            return _receptacle(game, state, r)
        case "examine object":
            return _object(game, state, o)
        case "use":
            return TURNED_ON.format(thing)
        case "clean" | "heat" | "cool":
            return TREATED.format(verb, thing, place)
        case "slice":
            return SLICED.format(thing, game.objects[state.held].name)
        case "look":
            return _look(game, state)
        case "inventory" if state.held >= 0:
            return CARRYING.format(game.objects[state.held].name)
        case "inventory":
            return EMPTY_HANDED
        case "help":
            return HELP_TEXT


def _receptacle(game: Game, state: State, r: int) -> str:
    receptacle = game.receptacles[r]
    is_open = state.opened >> r & 1
    if receptacle.openable and not is_open:
        return IS_CLOSED.format(receptacle.name)
    objects = game.objects
    contents = WITH_ARTICLE.format([objects[o].name for o in state.contents[r]])
    if receptacle.openable:
        return IS_OPEN.format(receptacle.name, contents)
    return HOLDS.format(receptacle.name, contents)


def _object(game: Game, state: State, o: int) -> str:
    thing = game.objects[o]
    if thing.holds_objects:
        return CONTAINS.format(thing.name, WITH_ARTICLE.format([game.objects[i].name for i in thing.inner]))
    clean, hot, cool, sliced = (bool(flags >> o & 1) for flags in (state.clean, state.hot, state.cool, state.sliced))
    if clean or hot or cool:
        return CHANGED.format(condition(hot=hot, cool=cool, clean=clean, sliced=sliced), thing.name)
    if thing.toggleable and state.toggled >> o & 1:
        return IS_ON.format(thing.name)
    if thing.sliceable and sliced:
        return CHANGED.format(condition(sliced=True), thing.name)
    return NOT_SPECIAL.format(thing.name)


def _look(game: Game, state: State) -> str:
    here = game.locations[state.location].receptacles
    if not here:
        return IN_ROOM.format(NOTHING)
    # An object is listed once for each receptacle here that it was once taken out of, as the reference does.
    around = [
        game.objects[o].name
        for o, r in sorted(state.taken_from)
        if r in here and (o, state.location) in state.object_at
    ]
    facing = WITHOUT_ARTICLE.format([game.receptacles[r].name for r in here])
    return FACING.format(facing, WITH_ARTICLE.format(around))
