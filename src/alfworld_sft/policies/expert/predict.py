"""What will the game answer? The expert's own guess of the next observation, in the game's words.

Exact where the belief or the list of admissible commands decides it. Where they do not, the likeliest answer: what is
usually closed is closed, and a receptacle holds what more than half of its class hold in the train games.
"""

from __future__ import annotations

from alfworld_sft.policies.expert.belief import Belief, Place, class_of, in_game_order, number_of
from alfworld_sft.policies.expert.decide import Mind
from alfworld_sft.world.language import (
    ARRIVED,
    CARRYING,
    CHANGED,
    CLOSED,
    EMPTY_HANDED,
    FACING,
    HOLDS,
    IN_ROOM,
    IS_CLOSED,
    IS_OPEN,
    LOCATION,
    NOT_SPECIAL,
    NOTHING,
    NOTHING_HAPPENS,
    OPENED,
    PUT_DOWN,
    SLICED,
    TAKEN,
    TREATED,
    TURNED_ON,
    WITH_ARTICLE,
    WITHOUT_ARTICLE,
    condition,
    read_command,
)
from alfworld_sft.world.treatments import TREATMENTS


def predict(mind: Mind, command: str) -> str:
    """Return the guess for one command."""
    belief = mind.belief
    listed = belief.view.admissible_commands
    if listed is not None and command not in listed:
        return NOTHING_HAPPENS
    said = read_command(command)
    match said and (said.command.verb, *said.names):
        case ("go", place):
            return _arrival(mind, place)
        case ("open", place):
            return OPENED.format(place, _describe_opening(mind, belief.place(place)))
        case ("close", place):
            return CLOSED.format(place)
        case ("take", name, place):
            return TAKEN.format(name, place)
        case ("put", name, place):
            return PUT_DOWN[mind.grammar].format(name, place)
        case ("clean" | "heat" | "cool" as verb, name, place):
            return TREATED.format(verb, name, place)
        case ("slice", name, knife):
            return SLICED.format(name, knife)
        case ("use", lamp):
            return TURNED_ON.format(lamp)
        case ("examine", name) if name == belief.held:
            return _object(belief, name)
        case ("examine", place):
            return _describe_place(mind, belief.place(place))
        case ("inventory",):
            return CARRYING.format(belief.held) if belief.held else EMPTY_HANDED
        case ("look",):
            return _around(belief)
    return NOTHING_HAPPENS


def _arrival(mind: Mind, name: str) -> str:
    belief = mind.belief
    if name in belief.in_reach():
        return NOTHING_HAPPENS
    place = belief.place(name)
    arrived = name
    if mind.grammar == "put":  # this wording prints the location's own name, which is known only after a visit
        heard = {p.arrival for p in belief.places.values() if p.arrival}
        unused = (LOCATION.format(str(n)) for n in range(1, len(heard) + 2))
        arrived = place.arrival or next(location for location in unused if location not in heard)
    return ARRIVED.format(arrived, _describe_place(mind, place))


def _describe_place(mind: Mind, place: Place) -> str:
    if place.access == "open":
        return _describe_opening(mind, place)
    if place.probably_closed:
        return IS_CLOSED.format(place.name)
    return HOLDS.format(place.name, WITH_ARTICLE.format(_contents(mind, place)))


def _describe_opening(mind: Mind, place: Place) -> str:
    return IS_OPEN.format(place.name, WITH_ARTICLE.format(_contents(mind, place)))


def _contents(mind: Mind, place: Place) -> tuple[str, ...]:
    seen = place.contents or ()
    if place.complete:
        return seen
    known = {class_of(name) for name in seen}
    usual = mind.prior.usual_contents(class_of(place.name)) if mind.prior.known else ()
    return in_game_order((*seen, *(f"{kind} 1" for kind in usual if kind not in known)))


def _object(belief: Belief, name: str) -> str:
    done = {how for thing, how in belief.treated if thing == name}
    how = condition(**{treatment.flag: verb in done for verb, treatment in TREATMENTS.items()})
    return CHANGED.format(how, name) if how else NOT_SPECIAL.format(name)


def _around(belief: Belief) -> str:
    if belief.here is None:
        return IN_ROOM.format(NOTHING)
    facing = sorted(belief.in_reach(), key=lambda name: (class_of(name), -number_of(name)))
    return FACING.format(WITHOUT_ARTICLE.format(facing), NOTHING)
