"""The slow and obvious way to a shortest plan: breadth first, over every admissible command."""

import random
from collections.abc import Callable

from alfworld_sft.types import TASK_TYPES
from alfworld_sft.world import Game
from alfworld_sft.world.admissible import admissible_actions
from alfworld_sft.world.game import State
from alfworld_sft.world.rules import goal_reached, transition
from tests.handmade import Furniture, make_game

PLACES = ("cabinet", "desk", "drawer", "fridge", "microwave", "shelf", "sinkbasin")


def shortest_length(game: Game, state: State, limit: int) -> int | None:
    """Return the length of a shortest plan, or None where `limit` commands do not win."""
    edge, seen = [state], {_what_counts(state)}
    for length in range(limit + 1):
        if any(goal_reached(game, at) for at in edge):
            return length
        following: list[State] = []
        for at in edge:
            admissible = admissible_actions(game, at)
            for command in admissible.commands:
                action = admissible.action(command)
                assert action is not None
                after = transition(game, at, action)
                if (key := _what_counts(after)) not in seen:
                    seen.add(key)
                    following.append(after)
        edge = following
    return None


def _what_counts(state: State) -> State:
    """Drop what no goal and no plan depends on: it decides what is sliced, and what a look tells."""
    return state._replace(object_at=frozenset(), taken_from=frozenset(), sliced=0)


def odd_game(rng: random.Random) -> Game:
    """Return a tiny game with the oddities of the real ones, and odder.

    Objects lie in two receptacles; receptacles share locations, have none, or start open; drawers do not open, desks
    do; some objects are clean or cool from the start; some receptacles cannot hold some objects.
    """
    task_type = rng.choice(TASK_TYPES)
    light = task_type == "look_at_obj_in_light"
    things = ["mug 1", *["mug 2", "mug 3"][: rng.randint(task_type == "pick_two_obj_and_place", 2)], "book 1"]
    lamps = ["desklamp 1", *["desklamp 2"][: rng.randint(0, 1)]] if light else []
    kinds = [rng.choice(PLACES) for _ in range(rng.randint(3, 5))]
    target = rng.choice(kinds)
    station = {"pick_clean": "sinkbasin", "pick_heat_": "microwave", "pick_cool_": "fridge"}.get(task_type[:10])
    if station and rng.random() < 0.8:
        kinds[0] = station
    names = [f"{kind} {kinds[: i + 1].count(kind)}" for i, kind in enumerate(kinds)]
    contents: dict[str, list[str]] = {name: [] for name in names}
    for o in things + lamps:
        for place in rng.sample(names, 1 + (rng.random() < 0.25)):
            contents[place].append(o)
    chance: Callable[[float], bool] = lambda p: rng.random() < p  # noqa: E731
    locations = rng.randint(2, 4)
    furniture = [
        Furniture(
            name,
            None if chance(0.05) else rng.randint(1, locations),
            tuple(contents[name]),
            openable=chance(0.5) if chance(0.3) else None,
            opened=chance(0.2),
        )
        for name in names
    ]
    furniture.append(Furniture("countertop 1", locations + 1))  # so that every location is some receptacle's
    everywhere = {place.location for place in furniture} - {None}
    number = {location: i + 1 for i, location in enumerate(sorted(everywhere))}  # without gaps
    furniture = [
        Furniture(f.name, f.location and number[f.location], f.objects, f.openable, f.opened) for f in furniture
    ]
    facts = [f"is{flag} <{o}>" for flag in ("clean", "hot", "cool") for o in things if chance(0.1)]
    if light and chance(0.2):
        facts.append("istoggled <desklamp 1>")
    if light and chance(0.2):
        facts.append("pickupable <desklamp 1>")
    without = [
        f"cancontain {kind}type {o}type" for kind in {*kinds, "countertop"} for o in ("mug", "book") if chance(0.15)
    ]
    if chance(0.1):
        without.append("pickupable <mug 1>")
    start = rng.choice([None, None, *number.values()])
    place = "desklamp" if light else target
    return make_game(task_type, "mug", place, furniture, facts=facts, without=without, start=start)


def wander(game: Game, steps: int, rng: random.Random) -> State:
    """Return the state after some random commands, preferring those that change something."""
    state = game.initial
    for _ in range(steps):
        admissible = admissible_actions(game, state)
        near = [*admissible.here.values()]
        far = [way for way in admissible.ways.values() if way.receptacle not in admissible.in_reach]
        state = transition(game, state, rng.choice(near if not far or rng.random() < 0.7 else far))
    return state
