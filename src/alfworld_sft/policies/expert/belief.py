"""What does the prompt's view show about the game? A `View` → `Belief`, rebuilt from scratch at every turn.

Every exchange of the history is applied in order, then the current observation, then the admissible commands if the
template lists them. A view that is cut to a window gives a smaller belief by itself. Nothing else is known: the
rules assumed here (what `take` does, that places near each other refuse `go to`) are those every player knows.
"""

from __future__ import annotations

from alfworld_sft.policies.expert.reading import Access, Offers, Reading, read_observation, read_offers
from alfworld_sft.types import View
from alfworld_sft.world.language import PUT, read_command
from alfworld_sft.world.treatments import TREATMENTS, Treatment

OPENABLE = frozenset({"cabinet", "drawer", "fridge", "microwave", "safe"})
"""Classes that are usually closed at first; the single one may turn out otherwise."""

RECEPTACLE_CLASSES = frozenset(
    {
        "armchair", "bathtubbasin", "bed", "cabinet", "cart", "coffeemachine", "coffeetable", "countertop", "desk",
        "diningtable", "drawer", "dresser", "fridge", "garbagecan", "handtowelholder", "laundryhamper", "microwave",
        "ottoman", "safe", "shelf", "sidetable", "sinkbasin", "sofa", "stoveburner", "toaster", "toilet",
        "toiletpaperhanger", "towelholder", "tvstand",
    }
)  # fmt: skip
"""Furniture, as opposed to portable objects, among `examine` commands."""


def class_of(name: str) -> str:
    """Return "mug" for "mug 2"."""
    return name.partition(" ")[0]


def number_of(name: str) -> int:
    """Return 2 for "mug 2"."""
    number = name.rpartition(" ")[2]
    return int(number) if number.isdecimal() else 0


class Place:
    """What is known of one receptacle.

    `contents` is None until they were seen; `complete` is False if only `take` commands showed them.
    `access` is None until known. `arrival` is what the game calls the location on arrival, where it was heard.
    `refuses` has classes of objects that could not be put there, `untreated` those that it did not clean, heat or cool
    though it is the appliance for it. `useless`: it refused to open.
    """

    __slots__ = ("access", "arrival", "complete", "contents", "name", "refuses", "untreated", "useless")

    def __init__(self, name: str) -> None:
        self.name = name
        self.access: Access | None = None
        self.contents: tuple[str, ...] | None = None
        self.complete = False
        self.arrival: str | None = None
        self.refuses: frozenset[str] = frozenset()
        self.untreated: frozenset[str] = frozenset()
        self.useless = False

    @property
    def accessible(self) -> bool:
        """Whether its contents can be reached without opening it."""
        return self.access in ("flat", "open")

    @property
    def probably_closed(self) -> bool:
        """Whether it must be opened, as far as is known."""
        return self.access == "closed" or (self.access is None and class_of(self.name) in OPENABLE)


class Belief:
    """Everything that a view shows.

    `here` is the receptacle that was last gone to or is known to be in reach, None in the middle of the room.
    `held` is "" for an empty hand and None if the window does not show it. `treated` holds pairs (object, what was
    done to it), `lit` the lamps that are on, `origin` the receptacle that each object was last taken from, `last` is
    the current observation.
    """

    __slots__ = ("_reach", "held", "here", "last", "lit", "offers", "origin", "places", "treated", "view", "windowed")

    def __init__(self, view: View) -> None:
        self.view = view
        self.windowed = len(view.history) < view.step
        self.places: dict[str, Place] = {}
        self.here: str | None = None
        self.held: str | None = None if self.windowed else ""
        self.treated: set[tuple[str, str]] = set()
        self.lit: set[str] = set()
        self.origin: dict[str, str] = {}
        self.offers: Offers | None = None
        self._reach: dict[str, set[str]] = {}

        command = ""
        for exchange in view.history:
            self._learn(command, exchange.observation)
            command = exchange.action
        self._learn(command, view.observation)
        self.last = read_observation(view.observation)
        if view.admissible_commands is not None:
            self._learn_offers(read_offers(view.admissible_commands))

    def in_reach(self) -> set[str]:
        """Return the receptacles known to be in reach without going anywhere."""
        return set() if self.here is None else self._reach.get(self.here) or {self.here}

    def seen(self, object_class: str) -> list[tuple[str, str]]:
        """Return pairs (object, receptacle) of where things of the class are, less what is held."""
        prefix = object_class + " "
        return [
            (name, place.name)
            for place in self.places.values()
            if place.contents
            for name in place.contents
            if name.startswith(prefix) and name != self.held
        ]

    def place(self, name: str) -> Place:
        """Return what is known of a receptacle, which becomes known by being named."""
        place = self.places.get(name)
        if place is None:
            place = self.places[name] = Place(name)
        return place

    def _learn(self, command: str, observation: str) -> None:
        reading = read_observation(observation)
        match reading.kind:
            case "refused":
                self._learn_refusal(command.strip())
            case "room":
                for name in reading.names:
                    self.place(name)
            case "arrive" | "open" | "sight":
                self._learn_sight(reading)
            case "take" | "put" | "treat" | "close":
                self._learn_deed(reading)
            case "use":
                self.lit.add(reading.object)
            case "here":
                for name in reading.names:
                    self._join(name)
            case "hand":
                self.held = reading.object
            case "object":
                self._learn_object(reading)
            case "other":
                pass

    def _learn_sight(self, reading: Reading) -> None:
        place = self.place(reading.place)
        if reading.kind == "arrive":
            self.here = reading.place
            place.arrival = reading.how
        else:
            self._join(reading.place)
        place.access = reading.access
        if reading.contents is not None:
            place.contents, place.complete = reading.contents, True

    def _learn_deed(self, reading: Reading) -> None:
        self._join(reading.place)
        place = self.place(reading.place)
        match reading.kind:
            case "take":
                self.held = reading.object
                self.origin[reading.object] = reading.place
                if place.contents is not None:
                    place.contents = tuple(name for name in place.contents if name != reading.object)
            case "put":
                self.held = ""
                if place.contents is None:
                    place.contents, place.complete = (reading.object,), False
                elif reading.object not in place.contents:
                    place.contents = in_game_order((*place.contents, reading.object))
            case "treat":
                self.held = reading.object
                self._treat(reading.object, TREATMENTS[reading.how])
            case "close":
                place.access = "closed"
        if reading.kind in ("take", "put") and not place.accessible:
            place.access = "open" if class_of(place.name) in OPENABLE else "flat"

    def _treat(self, name: str, treatment: Treatment) -> None:
        if treatment.undoes:
            self.treated.discard((name, treatment.undoes))
        self.treated.add((name, treatment.verb))

    def _learn_object(self, reading: Reading) -> None:
        """Only the held object can be examined, and the game says what was done to it."""
        self.held = reading.object
        for treatment in TREATMENTS.values():
            if not treatment.descriptions.isdisjoint(reading.how.split()):
                self._treat(reading.object, treatment)

    def _learn_refusal(self, command: str) -> None:
        """Nothing happened: learn why, where only one reason is left. Whoever played may not know the game's rules."""
        said = read_command(command)
        if said and said.command.verb == "put" and said.command != PUT[self.view.wording]:
            return
        match said and (said.command.verb, *said.names):
            case ("go", name):
                if name in self.places or (self.windowed and class_of(name) in RECEPTACLE_CLASSES):
                    self._join(name)
            case ("open", name):
                place = self.places.get(name)
                if place is not None and name in self.in_reach() and place.access == "closed":
                    place.useless = True
            case (verb, name, place_name) if place_name in self.places and place_name in self.in_reach():
                self._learn_refused_deed(verb, name, self.places[place_name])

    def _learn_refused_deed(self, verb: str, name: str, place: Place) -> None:
        match verb:
            case "take" if self.held == "" and place.accessible and place.contents:
                place.contents = tuple(there for there in place.contents if there != name)
            case "put" if self.held == name and place.accessible:
                place.refuses |= {class_of(name)}
            case "clean" | "heat" | "cool" if self.held == name and class_of(place.name) == TREATMENTS[verb].appliance:
                place.untreated |= {class_of(name)}

    def _learn_offers(self, offers: Offers) -> None:
        """Take in the admissible commands: the places to go, what is in reach and how, and what the hand holds."""
        self.offers = offers
        for name in offers.go:
            self.place(name)
        takes_from = {place for _, place in offers.take}
        here = [
            name
            for name in offers.examine
            if name in self.places or class_of(name) in RECEPTACLE_CLASSES or name in takes_from
        ]
        for name in here:
            self._join(name)
        if self.held is None:
            carried = [name for name in offers.examine if name not in here]
            self.held = offers.held or (carried[0] if carried else "")
        for name in here:
            place = self.place(name)
            place.access = "closed" if name in offers.open else "open" if name in offers.close else "flat"
            if self.held == "" and place.access != "closed" and place.contents is None:
                place.contents = tuple(o for o, where in offers.take if where == name)

    def _join(self, name: str) -> None:
        """Learn that a receptacle is in reach."""
        self.place(name)
        if self.here is None:
            self.here = name
        if name == self.here:
            return
        reach = self._reach.setdefault(self.here, {self.here})
        if name not in reach:
            reach |= self._reach.get(name, {name})
            for member in reach:
                self._reach[member] = reach


def in_game_order(names: tuple[str, ...]) -> tuple[str, ...]:
    """Sort as the game lists things: by class, numbers descending."""
    return tuple(sorted(names, key=lambda name: (class_of(name), -number_of(name))))
