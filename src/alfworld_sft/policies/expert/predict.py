"""What will the game answer? The expert's own guess of the next observation, in the game's words.

Exact where the belief of the place or the list of admissible commands decides it. Where they do not, what is usually
closed is closed, and a receptacle holds what `Guesses` says, be it known to lie elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

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

Guesses = Literal["likeliest", "hopeful"]
"""What a receptacle holds that was not seen. likeliest: what more than half of its class hold in the train games.
hopeful: contents drawn at their shares there and, half of the time, what is looked for: a language model that learned
from true observations imagines them so, and is often wrong."""
_HOPE = 0.5
_NUMBERS = (1, 2, 3)


def predict(mind: Mind, command: str, rng: Random | None = None) -> str:
    """Return the guess for one command: the likeliest, or with `rng` a hopeful one."""
    belief = mind.belief
    listed = belief.view.admissible_commands
    if listed is not None and command not in listed:
        return NOTHING_HAPPENS
    guess = _Guess(mind, rng)
    said = read_command(command)
    match said and (said.command.verb, *said.names):
        case ("go", place):
            return guess.arrival(place)
        case ("open", place):
            return OPENED.format(place, guess.inside(belief.place(place)))
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
            return guess.description(belief.place(place))
        case ("inventory",):
            return CARRYING.format(belief.held) if belief.held else EMPTY_HANDED
        case ("look",):
            return _around(belief)
    return NOTHING_HAPPENS


@dataclass(frozen=True, slots=True)
class _Guess:
    """What the expert believes of places: the likeliest, or with `rng` what it hopes for."""

    mind: Mind
    rng: Random | None

    def arrival(self, name: str) -> str:
        """Return what a place's name and contents will be when it is gone to."""
        belief = self.mind.belief
        if name in belief.in_reach():
            return NOTHING_HAPPENS
        place = belief.place(name)
        arrived = name
        if self.mind.grammar == "put":  # this wording prints the location's own name, known only after a visit
            heard = {p.arrival for p in belief.places.values() if p.arrival}
            unused = (LOCATION.format(str(n)) for n in range(1, len(heard) + 2))
            arrived = place.arrival or next(location for location in unused if location not in heard)
        return ARRIVED.format(arrived, self.description(place))

    def description(self, place: Place) -> str:
        """Return how a place will look, be it open or closed."""
        if place.access == "open":
            return self.inside(place)
        if place.probably_closed:
            return IS_CLOSED.format(place.name)
        return HOLDS.format(place.name, WITH_ARTICLE.format(self._contents(place)))

    def inside(self, place: Place) -> str:
        """Return what an open place will show."""
        return IS_OPEN.format(place.name, WITH_ARTICLE.format(self._contents(place)))

    def _contents(self, place: Place) -> tuple[str, ...]:
        seen, kind_of_place = place.contents or (), class_of(place.name)
        if place.complete:
            return seen
        known = {class_of(name) for name in seen}
        if rng := self.rng:
            imagined = (kind for kind in self._imagine(kind_of_place, rng) if kind not in known)
            return in_game_order((*seen, *(f"{kind} {rng.choice(_NUMBERS)}" for kind in imagined)))
        prior = self.mind.prior
        usual = prior.usual_contents(kind_of_place) if prior.known else ()
        return in_game_order((*seen, *(f"{kind} 1" for kind in usual if kind not in known)))

    def _imagine(self, kind_of_place: str, rng: Random) -> list[str]:
        goal, held = self.mind.goal, self.mind.belief.held
        wanted = goal.object
        if held and class_of(held) == goal.object and goal.count == 1:
            wanted = goal.lamp
        hoped = rng.random() < _HOPE and wanted
        drawn = self.mind.prior.draw_contents(kind_of_place, goal.object, rng)
        return sorted({*(kind for kind in drawn if kind != wanted), *([wanted] if hoped else [])})


def _object(belief: Belief, name: str) -> str:
    done = {how for thing, how in belief.treated if thing == name}
    how = condition(**{treatment.flag: verb in done for verb, treatment in TREATMENTS.items()})
    return CHANGED.format(how, name) if how else NOT_SPECIAL.format(name)


def _around(belief: Belief) -> str:
    if belief.here is None:
        return IN_ROOM.format(NOTHING)
    facing = sorted(belief.in_reach(), key=lambda name: (class_of(name), -number_of(name)))
    return FACING.format(WITHOUT_ARTICLE.format(facing), NOTHING)
