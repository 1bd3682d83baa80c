"""State → words: what the game says at its start and after each command.

Word for word the texts that the reference derives from the grammar in the game files, with its oddities: a look
around from the middle of the room lists everything at the start and nothing later, and `use` always turns on.
"""

from __future__ import annotations

from collections.abc import Sequence

from alfworld_sft.world.game import Game, State
from alfworld_sft.world.grammar import TASK_PREFIX
from alfworld_sft.world.rules import Action

BANNER = "-= Welcome to TextWorld, ALFRED! =-"
NOTHING_HAPPENS = "Nothing happens."
HELP = """Available commands:
  look:                             look around your current location
  inventory:                        check your current inventory
  go to (receptacle):               move to a receptacle
  open (receptacle):                open a receptacle
  close (receptacle):               close a receptacle
  take (object) from (receptacle):  take an object from a receptacle
  move (object) to (receptacle):  place an object in or on a receptacle
  examine (something):              examine a receptacle or an object
  use (object):                     use an object
  heat (object) with (receptacle):  heat an object using a receptacle
  clean (object) with (receptacle): clean an object using a receptacle
  cool (object) with (receptacle):  cool an object using a receptacle
  slice (object) with (object):     slice an object using a sharp object
"""


def opening(game: Game) -> str:
    """Return the text at reset: banner, a look around, and the task."""
    return f"{BANNER}\n\n{opening_look(game)}\n\n{TASK_PREFIX}{game.task}"


def opening_look(game: Game) -> str:
    """Return the middle part of the opening: what is seen at the start."""
    if game.locations[game.initial.location].receptacles:
        return _look(game, game.initial)
    everything = [place.name for place in game.receptacles if place.location is not None]
    return f"You are in the middle of a room. Looking quickly around you, you see {_listed(everything, 'a ')}."


def feedback(game: Game, state: State, action: Action) -> str:
    """Return what the game says of an action; `state` is the one after it."""
    verb, o, r = action
    thing = game.objects[o].name if o >= 0 else ""
    place = game.receptacles[r].name if r >= 0 else ""
    match verb:
        case "go":
            arrived = place if game.grammar == "move" else game.locations[state.location].name
            return f"You arrive at {arrived}. {_receptacle(game, state, r)}"
        case "open":
            return f"You open the {place}. {_receptacle(game, state, r)}"
        case "close":
            return f"You close the {place}."
        case "take":
            return f"You pick up the {thing} from the {place}."
        case "put" if game.grammar == "move":
            return f"You move the {thing} to the {place}."
        case "put":
            return f"You put the {thing} in/on the {place}."
        case "examine receptacle":
            return _receptacle(game, state, r)
        case "examine object":
            return _object(game, state, o)
        case "use":
            return f"You turn on the {thing}."
        case "clean" | "heat" | "cool":
            return f"You {verb} the {thing} using the {place}."
        case "slice":
            return f"You sliced the {thing} with the {game.objects[state.held].name}."
        case "look":
            return _look(game, state)
        case "inventory" if state.held >= 0:
            return f"You are carrying: a {game.objects[state.held].name}."
        case "inventory":
            return "You are not carrying anything."
        case "help":
            return HELP


def _receptacle(game: Game, state: State, r: int) -> str:
    receptacle = game.receptacles[r]
    is_open = state.opened >> r & 1
    if receptacle.openable and not is_open:
        return f"The {receptacle.name} is closed."
    contents = _listed([game.objects[o].name for o in state.contents[r]], "a ")
    if receptacle.openable:
        return f"The {receptacle.name} is open. In it, you see {contents}."
    return f"On the {receptacle.name}, you see {contents}."


def _object(game: Game, state: State, o: int) -> str:
    thing = game.objects[o]
    if thing.holds_objects:
        inner = _listed([game.objects[i].name for i in thing.inner], "a ")
        return f"This is a normal {thing.name}. In it, you see {inner}."
    clean, hot, cool, sliced = (flags >> o & 1 for flags in (state.clean, state.hot, state.cool, state.sliced))
    temperature = "hot" if hot else "cool" if cool else ""
    if sliced and (temperature or clean):
        words = " and ".join(filter(None, (temperature, "clean" if clean else "")))
        return f"This is a {words} sliced {thing.name}."
    if temperature and clean:
        return f"This is a {temperature} and clean {thing.name}."
    if hot:
        return f"This is a hot {thing.name}."
    if clean:
        return f"This is a clean {thing.name}."
    if cool:
        return f"This is a cold {thing.name}."
    if thing.toggleable and state.toggled >> o & 1:
        return f"This {thing.name} is on."
    if thing.sliceable and sliced:
        return f"This is a sliced {thing.name}."
    return f"There's nothing special about {thing.name}."


def _look(game: Game, state: State) -> str:
    here = game.locations[state.location].receptacles
    if not here:
        return "You are in the middle of a room. Looking quickly around you, you see nothing."
    # An object is listed once for each receptacle here that it was once taken out of, as the reference does.
    around = [
        game.objects[o].name
        for o, r in sorted(state.taken_from)
        if r in here and (o, state.location) in state.object_at
    ]
    facing = _listed([game.receptacles[r].name for r in here])
    return f"You are facing the {facing}. Next to it, you see {_listed(around, 'a ')}."


def _listed(names: Sequence[str], article: str = "") -> str:
    if not names:
        return "nothing"
    if len(names) == 1:
        return article + names[0]
    return f"{article}{f', {article}'.join(names[:-1])}, and {article}{names[-1]}"
