"""Count what real houses hold, and write the facts that the generator draws from.

    python scripts/learn_scenes.py ../shared/alfworld_data/json_2.1.1/valid_train

The same games give the same bytes. `alfworld_sft.games.generator.facts` says what the numbers mean.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from alfworld_sft.games.generator.facts import (
    ABILITIES,
    BANDS,
    FILE,
    NOWHERE,
    ROOMS,
    Room,
    barred_at_start,
    room_of_scene,
)
from alfworld_sft.types import TASK_TYPES
from alfworld_sft.world import Game, load_game

FIXTURE_SHARE = 0.5
"""A type of which fewer than this share can be picked up belongs to the room, not to the game."""
_DECLARED = re.compile(r"(\w+)Type - [or]type")


class House:
    """One real game, with the names of types as the file writes them."""

    def __init__(self, game: Game, names: dict[str, str]) -> None:
        self.game = game
        assert game.scene is not None, game.id
        self.room: Room = room_of_scene(game.scene)
        self.furniture = [names[place.type] for place in game.receptacles]
        self.things = [names[thing.type] for thing in game.objects]
        self.holders = [
            [r for r, contents in enumerate(game.initial.contents) if o in contents] for o in range(len(game.objects))
        ]
        _, self.target, _, self.goal, _ = game.id.split("/")[0].split("-")

    def layout(self) -> dict[str, list[int]]:
        """Furniture type → [how many there are, how many of them can be opened]."""
        openable = Counter(t for t, place in zip(self.furniture, self.game.receptacles, strict=True) if place.openable)
        return {t: [n, openable[t]] for t, n in sorted(Counter(self.furniture).items())}

    def together(self) -> Iterator[tuple[str, ...]]:
        """Yield the furniture types that share a location, for each location that has several."""
        for location in self.game.locations:
            if len(location.receptacles) > 1:
                yield tuple(sorted(self.furniture[r] for r in location.receptacles))

    def place_of(self, o: int) -> str:
        """Return the types of the furniture that holds a thing: "Fridge", "CoffeeMachine+CounterTop", or NOWHERE."""
        return "+".join(sorted(self.furniture[r] for r in self.holders[o])) or NOWHERE


def read_houses(paths: Iterable[Path]) -> list[House]:
    """Load games with the type names that their files declare."""
    houses = []
    for path in paths:
        problem = json.loads(path.read_text(encoding="utf-8"))["pddl_problem"]
        names = {f"{name.lower()}type": name for name in _DECLARED.findall(problem)}
        houses.append(House(load_game(path), names))
    return houses


def learn(houses: list[House]) -> dict[str, Any]:
    """Return all the facts."""
    rooms = {room: _room([house for house in houses if house.room == room], houses) for room in ROOMS}
    return {
        "games": len(houses),
        "tasks": {task_type: _task(houses, task_type, rooms) for task_type in TASK_TYPES},
        "rooms": rooms,
        "together": _together(houses, rooms),
        "abilities": _abilities(houses),
        "can_contain": _can_contain(houses),
        "most": _most(houses),
        "nested": _nested(houses),
        "astray": _astray(houses),
    }


def _task(houses: list[House], task_type: str, rooms: dict[str, Any]) -> dict[str, Any]:
    chosen = [house for house in houses if house.game.task_type == task_type]
    games = Counter(house.room for house in chosen)
    return {
        "games": len(chosen),
        "rooms": {room: games[room] for room in ROOMS if games[room]},
        "targets": {room: _counts(h.target for h in chosen if h.room == room) for room in ROOMS if games[room]},
        "goals": {room: _counts(h.goal for h in chosen if h.room == room) for room in ROOMS if games[room]},
        "copies": _counts(house.things.count(house.target) for house in chosen),
        "bands": _bands(chosen, rooms),
        "in_openable": _in_openable(chosen, rooms),
        "together": _together(chosen, rooms, targets=True),
        "sentences": _counts(map(_sentence, chosen)),
    }


def _chances(house: House, thing_type: str, rooms: dict[str, Any]) -> list[float]:
    """Return for each piece of furniture how likely a thing is in it, as the rates of the room have it."""
    rates = rooms[house.room]["things"][thing_type]["places"]
    barred = barred_at_start(house.game.task_type, house.goal) if thing_type == house.target else frozenset()
    weights = [0.0 if t in barred else rates.get(t, 0.0) for t in house.furniture]
    return [weight / sum(weights) for weight in weights] if sum(weights) else weights


def _bands(houses: list[House], rooms: dict[str, Any]) -> list[int]:
    """Count in how many games the best place of what is wanted has a rate in each of BANDS, against the best there."""
    counts = [0] * len(BANDS)
    for house in houses:
        rates = rooms[house.room]["things"][house.target]["places"]
        barred = barred_at_start(house.game.task_type, house.goal)
        most = max((rates.get(t, 0) for t in set(house.furniture) - barred), default=0)
        best = max(
            (rates.get(house.place_of(o), 0) for o, t in enumerate(house.things) if t == house.target), default=0
        )
        likeliness = min(1.0, best / most) if most else 1.0
        counts[next(i for i, (low, high) in enumerate(BANDS) if low <= likeliness < high)] += 1
    return counts


def _in_openable(houses: list[House], rooms: dict[str, Any]) -> float:
    """Return how much likelier the targets are in furniture that opens than other things of their types."""
    chances: list[float] = []
    found = 0
    for house in houses:
        openable = [place.openable for place in house.game.receptacles]
        share = sum(p for p, opens in zip(_chances(house, house.target, rooms), openable, strict=True) if opens)
        for o, t in enumerate(house.things):
            if t == house.target and house.holders[o]:
                chances.append(share)
                found += openable[house.holders[o][0]]
    low, high = 0.0, 100.0
    for _ in range(60):  # the expected number grows with the factor
        factor = (low + high) / 2
        expected = sum(p * factor / (p * factor + 1 - p) for p in chances)
        low, high = (factor, high) if expected < found else (low, factor)
    return round(factor, 4)


def _together(houses: list[House], rooms: dict[str, Any], *, targets: bool = False) -> float:
    """Return how often a copy lies with another one for more than chance: (found - expected) / (1 - expected)."""
    found = expected = 0.0
    pairs = 0
    for house in houses:
        for t in {house.target} if targets else set(house.things) & rooms[house.room]["things"].keys() - {house.target}:
            places = [house.holders[o][0] for o, thing in enumerate(house.things) if thing == t and house.holders[o]]
            chance = sum(p * p for p in _chances(house, t, rooms))
            for a, b in combinations(places, 2):
                pairs += 1
                found += a == b
                expected += chance
    return round(max(0.0, (found - expected) / (pairs - expected)), 4)


def _sentence(house: House) -> str:
    words = re.split(r"\b", house.game.task)
    return "".join({house.target.lower(): "{object}", house.goal.lower(): "{receptacle}"}.get(w, w) for w in words)


def _room(houses: list[House], everywhere: list[House]) -> dict[str, Any]:
    layouts: dict[int | None, tuple[dict[str, list[int]], int]] = {}
    for house in houses:
        layouts[house.game.scene] = (house.layout(), layouts.get(house.game.scene, ({}, 0))[1] + 1)
    fixtures = _fixtures(everywhere)
    types = sorted({thing for house in houses for thing in house.things})
    return {
        "layouts": [{"games": n, "furniture": layout} for _, (layout, n) in sorted(layouts.items(), key=str)],
        "sharing": _sharing(houses),
        "things": {t: _thing(houses, t) for t in types if t not in fixtures},
        "fixtures": {t: _thing(houses, t) for t in types if t in fixtures},
    }


def _sharing(houses: list[House]) -> list[Any]:
    """Return [types, share of the chances taken] for each kind of shared location, the largest and commonest first.

    A chance is a disjoint set of such furniture: with five drawers there are two for a pair of drawers.
    """
    found = Counter(kind for house in houses for kind in house.together())
    rates: list[Any] = []
    for kind, number in sorted(found.items(), key=lambda item: (-len(item[0]), -item[1], item[0])):
        needs = Counter(kind)
        chances = sum(min(house.furniture.count(t) // n for t, n in needs.items()) for house in houses)
        rates.append([list(kind), round(number / chances, 4)])
    return rates


def _thing(houses: list[House], thing_type: str) -> dict[str, Any]:
    """Return how often a room has such a thing, how many, and where: a rate for each piece of furniture there."""
    having = [house for house in houses if thing_type in house.things]
    untargeted = [house for house in having if house.target != thing_type] or having
    places: Counter[str] = Counter()
    for house in untargeted:
        places.update(house.place_of(o) for o, t in enumerate(house.things) if t == thing_type)
    nowhere = places.pop(NOWHERE, 0)
    rates = {place: round(n / _exposure(untargeted, place), 4) for place, n in sorted(places.items())}
    return {
        "present": round(len(having) / len(houses), 4),
        "copies": _counts(house.things.count(thing_type) for house in untargeted),
        "nowhere": round(nowhere / (nowhere + places.total()), 4) if nowhere else 0,
        "places": rates,
    }


def _exposure(houses: list[House], place: str) -> int:
    types = Counter(place.split("+"))
    if types.total() == 1:
        return sum(house.furniture.count(place) for house in houses)
    return sum(all(house.furniture.count(t) >= n for t, n in types.items()) for house in houses)


def _fixtures(houses: list[House]) -> set[str]:
    seen: Counter[str] = Counter()
    loose: Counter[str] = Counter()
    for house in houses:
        for name, thing in zip(house.things, house.game.objects, strict=True):
            seen[name] += 1
            loose[name] += thing.pickupable
    return {name for name, n in seen.items() if loose[name] < FIXTURE_SHARE * n}


def _abilities(houses: list[House]) -> dict[str, list[str]]:
    """Return ability → the types of which most have it."""
    seen: Counter[str] = Counter()
    able: dict[str, Counter[str]] = {ability: Counter() for ability in ABILITIES}
    for house in houses:
        for name, thing in zip(house.things, house.game.objects, strict=True):
            seen[name] += 1
            for ability in ABILITIES:
                able[ability][name] += getattr(thing, ability)
    return {a: [name for name in sorted(seen) if able[a][name] >= FIXTURE_SHARE * seen[name]] for a in ABILITIES}


def _can_contain(houses: list[House]) -> dict[str, list[str]]:
    """Return the one table that each file shows a part of: that of the types which occur in it."""
    names = {f"{name.lower()}type": name for house in houses for name in house.things}
    table: dict[str, set[str]] = {furniture: set() for house in houses for furniture in house.furniture}
    for house in houses:
        for furniture, place in zip(house.furniture, house.game.receptacles, strict=True):
            table[furniture] |= {names[t] for t in place.can_contain if t in names}
    return {furniture: sorted(held) for furniture, held in sorted(table.items())}


def _most(houses: list[House]) -> dict[str, int]:
    """Return how many things were ever seen in one piece of furniture of each type."""
    most: dict[str, int] = defaultdict(int)
    for house in houses:
        for furniture, contents in zip(house.furniture, house.game.initial.contents, strict=True):
            most[furniture] = max(most[furniture], len(contents))
    return dict(sorted(most.items()))


def _nested(houses: list[House]) -> float:
    """Return the share of things that can hold others and do."""
    containers = [thing for house in houses for thing in house.game.objects if thing.holds_objects]
    return round(sum(bool(thing.inner) for thing in containers) / len(containers), 4)


def _astray(houses: list[House]) -> float:
    """Return the share of the things in furniture whose own location is another one's."""
    held = astray = 0
    for house in houses:
        for o, location in house.game.initial.object_at:
            if house.holders[o]:
                held += 1
                astray += location not in {house.game.receptacles[r].location for r in house.holders[o]}
    return round(astray / held, 4)


def _counts(values: Iterable[Any]) -> dict[str, int]:
    return {str(value): n for value, n in sorted(Counter(values).items())}


def as_text(facts: dict[str, Any]) -> str:
    """Return the content of the file."""
    text = json.dumps(facts, indent=1)
    text = re.sub(r"\n {4,}", " ", text)  # not one line for each number: the file is read by people too
    text = re.sub(r"\n {3}(?=[\]}])", "", text)
    text = re.sub(r"(?<=\[|,)\n {3,}(?=\")|(?<=\")\n {2,}(?=\])", " ", text)
    return text + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="a split's folder of train games")
    parser.add_argument("--out", type=Path, default=FILE)
    options = parser.parse_args()
    paths = sorted(options.folder.rglob("game.tw-pddl"))
    if not paths:
        parser.error(f"{options.folder} has no game.tw-pddl below it")
    facts = learn(read_houses(paths))
    options.out.write_text(as_text(facts), encoding="utf-8", newline="\n")
    print(f"{facts['games']} games, {options.out.stat().st_size:,} bytes: {options.out}")


if __name__ == "__main__":
    main()
