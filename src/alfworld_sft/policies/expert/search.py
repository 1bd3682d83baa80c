"""Where to look next? Rank the receptacles whose contents are not known yet.

"prior": by P(what is wanted lies there) ÷ the steps until it would be seen. For independent chances this order has
the shortest expected search. "sweep": in a fixed order, from the place where the player stands onwards and around:
it asks only for what even a short window shows.
"""

from __future__ import annotations

from typing import Literal

from alfworld_sft.policies.expert.belief import OPENABLE, Belief, Place, class_of, number_of
from alfworld_sft.policies.expert.prior import Prior

Search = Literal["prior", "sweep"]


def next_place(belief: Belief, wanted: str, excluded: str, prior: Prior, search: Search) -> Place | None:
    """Return the receptacle to look into next for an object class, None where all were seen.

    Receptacles of the class `excluded` are left out: what is wanted cannot be there.
    """
    places = [place for place in belief.places.values() if class_of(place.name) != excluded and not place.useless]
    if search == "sweep":
        return _next_in_sweep(belief, wanted, places, prior)
    reach = belief.in_reach()
    best: Place | None = None
    best_key = (0.0, "", 0)
    for place in places:
        if place.contents is not None or _told_by_offers(belief, place, wanted, reach):
            continue
        kind = class_of(place.name)
        key = (-prior.chance(wanted, kind) / steps_to_see(place, place.name in reach), kind, number_of(place.name))
        if best is None or key < best_key:
            best, best_key = place, key
    return best


def _next_in_sweep(belief: Belief, wanted: str, places: list[Place], prior: Prior) -> Place | None:
    """Return what is unseen here, else the next receptacle elsewhere in the fixed order.

    The order begins anew when something was just taken or put down: what is looked for has changed then.
    """

    def rank(place: Place) -> tuple[float, str, int]:
        kind = class_of(place.name)
        return -prior.chance(wanted, kind) / (2 if kind in OPENABLE else 1), kind, number_of(place.name)

    order = sorted(places, key=rank)
    reach = belief.in_reach()
    for place in order:
        if place.name in reach and place.contents is None and not _told_by_offers(belief, place, wanted, reach):
            return place
    names = [place.name for place in order]
    begins = belief.here not in names or belief.last.kind in ("take", "put")
    start = 0 if begins else names.index(belief.here or "") + 1
    return next((place for place in order[start:] + order[:start] if place.name not in reach), None)


def steps_to_see(place: Place, in_reach: bool) -> int:
    """Return how many commands it takes until the contents are seen, as far as is known."""
    if not in_reach:
        return 2 if place.probably_closed else 1
    return 2 if place.access is None and place.probably_closed else 1


def _told_by_offers(belief: Belief, place: Place, wanted: str, reach: set[str]) -> bool:
    """Return whether the admissible commands show that what is wanted is not in a place in reach.

    They offer `use` for every lamp in reach. (What can be taken has become part of the belief already.)
    """
    return belief.offers is not None and place.name in reach and wanted.endswith("lamp")
