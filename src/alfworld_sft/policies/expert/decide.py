"""What to do next, and why? A belief and a goal → `Decision`.

The order of thought: put down what is not wanted; treat and bring home what is; else take one that was seen; else
look for one. With admissible commands a decision is always one of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from alfworld_sft.policies.expert.belief import Belief, Place, class_of, number_of
from alfworld_sft.policies.expert.goal import Goal
from alfworld_sft.policies.expert.prior import Prior
from alfworld_sft.policies.expert.search import Search, next_place, steps_to_see
from alfworld_sft.types import Wording
from alfworld_sft.world.language import EXAMINE, GO, LOOK, OPEN, PUT, TAKE, TREAT, USE, TreatmentVerb
from alfworld_sft.world.treatments import TREATMENTS

Aim = Literal["find", "fetch", "treat", "deliver", "light", "drop", "lost"]
"""Find: look where it may be. Fetch: get one that was seen. Lost: nothing is left to try but looking again."""


class Decision(NamedTuple):
    """A command, with the aim it serves and the things it is about ("" where none)."""

    command: str
    aim: Aim
    object: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class Mind:
    """What is thought with: the belief, and what stays the same through an episode."""

    belief: Belief
    goal: Goal
    prior: Prior
    search: Search
    grammar: Wording

    def decide(self) -> Decision:
        """Return the next command with its reason."""
        decision = self._decide()
        commands = self.belief.view.admissible_commands
        if commands is None or decision.command in commands:
            return decision
        return self._lost()

    def lamp(self) -> tuple[str, str] | None:
        """Return (lamp, receptacle it is on) for one that was seen, in reach if possible."""
        belief = self.belief
        if belief.offers is not None and belief.here is not None:
            for name in belief.offers.use:
                if class_of(name) == self.goal.lamp:
                    return name, next((p for n, p in belief.seen(self.goal.lamp) if n == name), belief.here)
        return self._nearest(belief.seen(self.goal.lamp))

    def putting(self, name: str, place: str) -> str:
        """Return the command that puts a thing down, in the game's own wording."""
        return PUT[self.grammar].format(name, place)

    def _decide(self) -> Decision:
        belief, goal = self.belief, self.goal
        if belief.held:
            if class_of(belief.held) != goal.object:
                return self._drop()
            if goal.lamp:
                return self._light()
            if goal.treatment and (belief.held, goal.treatment) not in belief.treated:
                return self._treat(goal.treatment)
            return self._deliver()
        source = self._nearest(self._sources())
        if source is not None:
            name, place = source
            return self._at(belief.place(place), "fetch", name) or Decision(
                TAKE.format(name, place), "fetch", name, place
            )
        # Where the object would count as brought home it cannot be: the game would be won.
        return self._find(goal.object, goal.place if goal.count == 1 and not goal.treatment else "")

    def _sources(self) -> Iterable[tuple[str, str]]:
        """Return where the wanted objects lie that are not where they belong already."""
        belief, goal = self.belief, self.goal
        seen = belief.seen(goal.object)
        if goal.lamp:
            return seen
        if goal.count == 1:
            done = {name for name, place in seen if class_of(place) == goal.place} if not goal.treatment else set()
            return [(name, place) for name, place in seen if name not in done]
        home = self._home()
        at_home = set() if home is None else {name for name, place in seen if place == home.name}
        return [(name, place) for name, place in seen if name not in at_home]

    def _home(self) -> Place | None:
        """Return the receptacle to bring things to: the one that holds most of them, then the one easiest to reach."""
        belief, goal = self.belief, self.goal
        places = [p for p in belief.places.values() if class_of(p.name) == goal.place]
        places = [p for p in places if not p.useless and goal.object not in p.refuses] or places
        if not places:
            return None
        if self.search == "sweep" and goal.count > 1:
            return min(places, key=lambda p: number_of(p.name))  # one that needs no memory
        reach = belief.in_reach()
        prefix = goal.object + " "

        def key(place: Place) -> tuple[int, int, int, int]:
            there = sum(name.startswith(prefix) for name in place.contents or ()) if goal.count > 1 else 0
            effort = steps_to_see(place, place.name in reach) if not (place.accessible and place.name in reach) else 0
            unseen = place.contents is None and goal.count > 1
            return -there, effort, -unseen, number_of(place.name)

        return min(places, key=key)

    def _nearest(self, pairs: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
        """Return the pair (object, receptacle) that takes the fewest steps."""
        reach = self.belief.in_reach()
        places = self.belief.places

        def key(pair: tuple[str, str]) -> tuple[int, int, str, int, int]:
            name, place = pair
            effort = (place not in reach) + (places[place].access == "closed")
            return effort, place != self.belief.here, class_of(place), number_of(place), number_of(name)

        return min(pairs, key=key, default=None)

    def _at(self, place: Place, aim: Aim, name: str, opened: bool = True) -> Decision | None:
        """Return the next step towards having a receptacle in reach, and accessible; None when it is."""
        if place.name not in self.belief.in_reach():
            return Decision(GO.format(place.name), aim, name, place.name)
        if opened and place.access is None:
            return Decision(EXAMINE.format(place.name), aim, name, place.name)
        if opened and place.access == "closed":
            return Decision(OPEN.format(place.name), aim, name, place.name)
        return None

    def _find(self, wanted: str, excluded: str = "") -> Decision:
        place = next_place(self.belief, wanted, excluded, self.prior, self.search)
        if place is None:
            return self._lost()
        return self._at(place, "find", wanted) or Decision(EXAMINE.format(place.name), "find", wanted, place.name)

    def _treat(self, treatment: TreatmentVerb) -> Decision:
        belief, name = self.belief, self.belief.held or ""
        reach = belief.in_reach()
        kind = TREATMENTS[treatment].appliance
        places = [p for p in belief.places.values() if class_of(p.name) == kind and class_of(name) not in p.untreated]
        if not places:
            return self._lost()
        place = min(places, key=lambda p: (p.name not in reach, number_of(p.name)))
        return self._at(place, "treat", name, opened=False) or Decision(
            TREAT[treatment].format(name, place.name), "treat", name, place.name
        )

    def _deliver(self) -> Decision:
        name, home = self.belief.held or "", self._home()
        if home is None:
            return self._lost()
        return self._at(home, "deliver", name) or Decision(self.putting(name, home.name), "deliver", name, home.name)

    def _light(self) -> Decision:
        lamp = self.lamp()
        if lamp is None:
            return self._find(self.goal.lamp)
        name, place = lamp
        return self._at(self.belief.place(place), "light", name, opened=False) or Decision(
            USE.format(name), "light", name, place
        )

    def _drop(self) -> Decision:
        """Put down what is held, at hand if possible, else where it came from or where such things are kept."""
        belief, name = self.belief, self.belief.held or ""
        kind = class_of(name)
        if belief.offers is not None and belief.offers.put:
            place = min((p for _, p in belief.offers.put), key=lambda p: (p != belief.here, p))
            return Decision(self.putting(name, place), "drop", name, place)
        reach = belief.in_reach()
        origin = belief.origin.get(name)

        def key(place: Place) -> tuple[bool, float, str, int]:
            effort = (place.name not in reach) + (place.access != "flat") / 2
            fit = 10.0 if place.name == origin else self.prior.chance(kind, class_of(place.name))
            return fit < 0.02, effort - fit, class_of(place.name), number_of(place.name)

        tried = belief.offers is not None
        places = [
            p
            for p in belief.places.values()
            if kind not in p.refuses and not p.useless and not (tried and p.name in reach and p.accessible)
        ]
        if not places:
            return self._lost()
        best = min(places, key=key)
        return self._at(best, "drop", name) or Decision(self.putting(name, best.name), "drop", name, best.name)

    def _lost(self) -> Decision:
        """All was seen and nothing is left: go around once more, to the place that was left longest ago."""
        belief = self.belief
        reach = belief.in_reach()
        commands = belief.view.admissible_commands
        closed = [p for p in belief.places.values() if p.name in reach and p.access == "closed" and not p.useless]
        if closed and belief.held == "":
            return Decision(OPEN.format(closed[0].name), "lost", self.goal.object, closed[0].name)
        recent = {exchange.action: turn for turn, exchange in enumerate(belief.view.history)}
        elsewhere = [
            p
            for p in belief.places.values()
            if p.name not in reach and (commands is None or GO.format(p.name) in commands)
        ]
        if not elsewhere:
            return Decision(LOOK.format(), "lost", self.goal.object)
        next_ = min(elsewhere, key=lambda p: (recent.get(GO.format(p.name), -1), class_of(p.name), number_of(p.name)))
        return Decision(GO.format(next_.name), "lost", self.goal.object, next_.name)
