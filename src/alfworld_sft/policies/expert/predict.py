"""What will the game answer? The expert's own guess of the next observation, in the game's words.

Exact where the belief decides it. Where it does not, the likeliest answer: what is usually closed is closed, and a
receptacle holds what more than half of its class hold in the train games.
"""

from __future__ import annotations

from collections.abc import Iterable

from alfworld_sft.policies.expert.belief import Belief, Place, class_of, in_game_order, number_of
from alfworld_sft.policies.expert.decide import Mind

_REFUSED = "Nothing happens."


def predict(mind: Mind, command: str) -> str:
    """Return the guess for one command."""
    belief = mind.belief
    verb, _, rest = command.partition(" ")
    match verb:
        case "go":
            return _arrival(mind, rest.removeprefix("to "))
        case "open":
            return f"You open the {rest}. {_opened(mind, belief.place(rest))}"
        case "close":
            return f"You close the {rest}."
        case "take":
            name, _, place = rest.partition(" from ")
            return f"You pick up the {name} from the {place}."
        case "move":
            name, _, place = rest.partition(" to ")
            return f"You move the {name} to the {place}."
        case "put":
            name, _, place = rest.partition(" in/on ")
            return f"You put the {name} in/on the {place}."
        case "clean" | "heat" | "cool":
            name, _, place = rest.partition(" with ")
            return f"You {verb} the {name} using the {place}."
        case "slice":
            name, _, knife = rest.partition(" with ")
            return f"You sliced the {name} with the {knife}."
        case "use":
            return f"You turn on the {rest}."
        case "examine" if rest == belief.held:
            return _object(belief, rest)
        case "examine":
            return _described(mind, belief.place(rest))
        case "inventory" if belief.held:
            return f"You are carrying: a {belief.held}."
        case "inventory":
            return "You are not carrying anything."
        case "look":
            return _around(belief)
    return _REFUSED


def _arrival(mind: Mind, name: str) -> str:
    belief = mind.belief
    if name in belief.in_reach():
        return _REFUSED
    place = belief.place(name)
    arrived = name
    if mind.grammar == "put":  # this wording tells the location's own name, which one knows only after a visit
        heard = {p.arrival for p in belief.places.values() if p.arrival}
        unused = (f"loc {n}" for n in range(1, len(heard) + 2))
        arrived = place.arrival or next(location for location in unused if location not in heard)
    return f"You arrive at {arrived}. {_described(mind, place)}"


def _described(mind: Mind, place: Place) -> str:
    if place.access == "open":
        return _opened(mind, place)
    if place.probably_closed:
        return f"The {place.name} is closed."
    return f"On the {place.name}, you see {listed(_contents(mind, place))}."


def _opened(mind: Mind, place: Place) -> str:
    return f"The {place.name} is open. In it, you see {listed(_contents(mind, place))}."


def _contents(mind: Mind, place: Place) -> tuple[str, ...]:
    seen = place.contents or ()
    if place.complete:
        return seen
    known = {class_of(name) for name in seen}
    usual = mind.prior.usual_contents(class_of(place.name)) if mind.prior.known else ()
    return in_game_order((*seen, *(f"{kind} 1" for kind in usual if kind not in known)))


def _object(belief: Belief, name: str) -> str:
    done = {how for thing, how in belief.treated if thing == name}
    temperature = "hot" if "heat" in done else "cool" if "cool" in done else ""
    if temperature and "clean" in done:
        return f"This is a {temperature} and clean {name}."
    if done:
        return f"This is a {'hot' if 'heat' in done else 'clean' if 'clean' in done else 'cold'} {name}."
    return f"There's nothing special about {name}."


def _around(belief: Belief) -> str:
    if belief.here is None:
        return "You are in the middle of a room. Looking quickly around you, you see nothing."
    facing = sorted(belief.in_reach(), key=lambda name: (class_of(name), -number_of(name)))
    names = f"{', '.join(facing[:-1])}, and {facing[-1]}" if len(facing) > 1 else facing[0]
    return f"You are facing the {names}. Next to it, you see nothing."


def listed(names: Iterable[str]) -> str:
    """Return the names as the game lists them: "a mug 2, and a mug 1"."""
    items = [f"a {name}" for name in names]
    if not items:
        return "nothing"
    return f"{', '.join(items[:-1])}, and {items[-1]}" if len(items) > 1 else items[0]
