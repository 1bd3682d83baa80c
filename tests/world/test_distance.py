"""Distances are exact: against brute force, and by Bellman's equation around states of real games."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from alfworld_sft.games import find_games
from alfworld_sft.world import Game, load_game
from alfworld_sft.world.distance import distance
from alfworld_sft.world.game import State
from alfworld_sft.world.plan import shortest_actions
from alfworld_sft.world.rules import Action, admissible_actions, goal_reached, transition
from tests.handmade import Furniture, make_game
from tests.world.brute_force import odd_game, shortest_length, wander


def states_after(game: Game, state: State) -> Iterator[State]:
    """The states one admissible command away."""
    admissible = admissible_actions(game, state)
    for command in admissible.commands:
        action = admissible.action(command)
        assert action is not None
        yield transition(game, state, action)


def check_bellman(game: Game, state: State) -> None:
    """Zero exactly where the goal holds, else one more than the nearest neighbour's; None where all neighbours are."""
    here = distance(game, state)
    assert (here == 0) == goal_reached(game, state)
    if here != 0:
        around = [d for after in states_after(game, state) if (d := distance(game, after)) is not None]
        assert here == (1 + min(around) if around else None)


@pytest.mark.parametrize("seed", range(40))
def test_distances_are_those_of_brute_force(seed: int):
    rng = random.Random(1000 + seed)
    game = odd_game(rng)
    for steps in (0, 5, 20):
        state = wander(game, steps, rng)
        found, limit = distance(game, state), 6
        assert (found if found is not None and found <= limit else None) == shortest_length(game, state, limit)


def test_each_action_of_a_shortest_plan_is_one_nearer():
    for ref in find_games("embedded", "valid_seen").refs[:20]:
        game = ref.load()
        state, seen = game.initial, [distance(game, game.initial)]
        for action in shortest_actions(game):
            state = transition(game, state, action)
            seen.append(distance(game, state))
        assert seen == list(range(len(seen)))[::-1]


def test_bellmans_equation_holds_in_embedded_games():
    rng = random.Random(0)
    for ref in rng.sample(find_games("embedded", "train").refs, 12):
        game = ref.load()
        for steps in (0, 4, 15):
            check_bellman(game, wander(game, steps, rng))


@pytest.mark.real_games
def test_bellmans_equation_holds_in_real_games(real_game_paths: list[Path]):
    rng = random.Random(0)
    for path in rng.sample(real_game_paths, 40):
        game = load_game(path)
        for steps in (0, 4, 15, 40):
            check_bellman(game, wander(game, steps, rng))


def test_cooling_undoes_heating_and_costs_the_way_back(kitchen: Game):
    state = kitchen.initial
    for action in shortest_actions(kitchen)[:-1]:  # hot, in the hand, before the open fridge
        state = transition(kitchen, state, action)
    apple, fridge = state.held, next(r for r, place in enumerate(kitchen.receptacles) if place.name == "fridge 1")
    cooled = transition(kitchen, state, Action("cool", apple, fridge))
    assert (distance(kitchen, state), distance(kitchen, cooled)) == (1, 4)  # go, heat, go, move


def test_what_fits_nowhere_and_is_in_the_hand_loses_the_game():
    """The one way to lose that the real games have."""
    furniture = [Furniture("desk 1", 1, ("pen 1", "mug 1")), Furniture("shelf 1", 2)]
    no_place = [f"cancontain {kind}type pentype" for kind in ("desk", "shelf")]
    game = make_game("pick_and_place_simple", "mug", "shelf", furniture, without=no_place)
    pen, desk = next(o for o, thing in enumerate(game.objects) if thing.name == "pen 1"), 0
    at_desk = transition(game, game.initial, Action("go", receptacle=desk))
    assert game.receptacles[desk].name == "desk 1"
    taken = transition(game, at_desk, Action("take", pen, desk))
    assert (distance(game, at_desk), distance(game, taken)) == (3, None)
    check_bellman(game, at_desk)
    check_bellman(game, taken)


def test_a_game_remembers_a_bounded_number_of_distances():
    rng = random.Random(0)
    game = find_games("embedded", "train").refs[0].load()
    for _ in range(700):
        distance(game, wander(game, 12, rng))
    assert 0 < len(game.distance_cache) <= 512
