"""Where do things lie? P(a receptacle of one class holds something of another), counted in the train games.

`prior.json` (made by `scripts/learn_prior.py` from train games alone) holds for each scene the number of receptacles
of each class and, for each object class, how many of them held one, summed over the scene's games:

    {"301": {"places": {"desk": 6, …}, "holding": {"mug": {"desk": 2, …}, …}}, …}

For object class o and receptacle class t, over the scenes in which o occurs (less the scene that is left out):

    P(o in t) = (holding(o, t) + STRENGTH * base(o)) / (places(t) + STRENGTH)
    base(o) = (sum over t of holding(o, t) + BASE_RATE) / (sum over t of places(t) + 1)

so that a class of receptacle that was never seen beside o counts as an average one, and no chance is 0.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import TypeAlias

STRENGTH = 3.0
"""How many imaginary receptacles of average chance are added to each class."""
BASE_RATE = 0.05
FILE = Path(__file__).with_name("prior.json")


@dataclass(frozen=True, slots=True)
class SceneCounts:
    """What was counted in one scene's games."""

    places: Counter[str]
    holding: Mapping[str, Counter[str]]


Counts: TypeAlias = Mapping[int, SceneCounts]


class Prior:
    """Chances from counts; one that has no counts holds every place for equally good."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._chances: dict[str, tuple[float, dict[str, float]]] = {}
        self._usual: dict[str, tuple[str, ...]] = {}

    @property
    def known(self) -> bool:
        """Whether there is anything behind the chances."""
        return bool(self._counts)

    def chance(self, object_class: str, place_class: str) -> float:
        """Return P(a receptacle of `place_class` holds something of `object_class`), in (0, 1)."""
        found = self._chances.get(object_class)
        if found is None:
            found = self._chances[object_class] = self._chances_of(object_class)
        base, by_place = found
        return by_place.get(place_class, base)

    def usual_contents(self, place_class: str) -> tuple[str, ...]:
        """Return the classes that more than half of such receptacles hold, in the order the game lists them."""
        found = self._usual.get(place_class)
        if found is None:
            places = sum(scene.places[place_class] for scene in self._counts.values())
            holding: Counter[str] = Counter()
            for scene in self._counts.values():
                for object_class, by_place in scene.holding.items():
                    holding[object_class] += by_place[place_class]
            found = tuple(sorted(name for name, number in holding.items() if 2 * number > places))
            self._usual[place_class] = found
        return found

    def draw_contents(self, place_class: str, beside: str, rng: Random) -> tuple[str, ...]:
        """Return classes that such a receptacle might hold, each drawn at its share in one train scene.

        The scene is drawn from those that have such receptacles and, if any has, something of the class `beside`.
        """
        scenes = [scene for scene in self._counts.values() if scene.places[place_class]]
        scenes = [scene for scene in scenes if beside in scene.holding] or scenes
        if not scenes:
            return ()
        scene = rng.choice(scenes)
        places = scene.places[place_class]
        return tuple(name for name, held in sorted(scene.holding.items()) if rng.random() * places < held[place_class])

    def _chances_of(self, object_class: str) -> tuple[float, dict[str, float]]:
        places: Counter[str] = Counter()
        holding: Counter[str] = Counter()
        for scene in self._counts.values():
            if object_class in scene.holding:
                places.update(scene.places)
                holding.update(scene.holding[object_class])
        base = (holding.total() + BASE_RATE) / (places.total() + 1)
        return base, {
            place: (holding[place] + STRENGTH * base) / (number + STRENGTH) for place, number in places.items()
        }


@lru_cache(maxsize=1)
def learned_counts() -> Counts:
    """Return the counts that come with the package."""
    data = json.loads(FILE.read_text(encoding="utf-8"))
    return {
        int(scene): SceneCounts(
            Counter(counts["places"]), {name: Counter(by_place) for name, by_place in counts["holding"].items()}
        )
        for scene, counts in data.items()
    }


def learned_prior(without_scene: int | None = None) -> Prior:
    """Return the prior that comes with the package, less what was counted in one scene."""
    return _prior_without(without_scene if without_scene in learned_counts() else None)


@lru_cache(maxsize=128)
def _prior_without(without_scene: int | None) -> Prior:
    return Prior({scene: counts for scene, counts in learned_counts().items() if scene != without_scene})


NO_PRIOR = Prior({})
"""Every place is as good as any other."""
