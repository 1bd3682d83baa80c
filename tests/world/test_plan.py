"""Plans are shortest from any state: against brute force, and against the walkthroughs of the real games."""

import random
from pathlib import Path
from typing import Any

import pytest

from alfworld_sft.world import Env, Game, load_game
from alfworld_sft.world.game import State
from alfworld_sft.world.plan import UnsolvableError, command_of, shortest_plan
from alfworld_sft.world.rules import Action, admissible_actions, goal_reached, transition
from tests.handmade import Furniture, make_game
from tests.world.brute_force import odd_game, shortest_length, wander

MUG_IN_DRAWER = [Furniture("drawer 1", 1, ("mug 1",)), Furniture("desk 1", 2)]


def plan_length(game: Game, state: State | None = None) -> int | None:
    """The length of the plan, which is played to see that it wins, and not before its end; None for no plan."""
    state = game.initial if state is None else state
    try:
        plan = shortest_plan(game, state)
    except UnsolvableError:
        return None
    for command in plan:
        assert not goal_reached(game, state)
        action = admissible_actions(game, state).action(command)
        assert action is not None, f"{command!r} is not admissible"
        state = transition(game, state, action)
    assert goal_reached(game, state)
    return len(plan)


def test_a_plan_goes_opens_takes_goes_and_puts():
    assert shortest_plan(make_game("pick_and_place_simple", "mug", "desk", MUG_IN_DRAWER)) == (
        "go to drawer 1",
        "open drawer 1",
        "take mug 1 from drawer 1",
        "go to desk 1",
        "move mug 1 to desk 1",
    )


def test_a_plan_of_an_older_game_is_in_its_words():
    game = make_game("pick_and_place_simple", "mug", "desk", MUG_IN_DRAWER, older=True)
    assert shortest_plan(game)[-1] == "put mug 1 in/on desk 1"


def test_a_plan_heats_on_the_way(kitchen: Game):
    assert shortest_plan(kitchen) == (
        "go to fridge 1",
        "open fridge 1",
        "take apple 2 from fridge 1",
        "go to microwave 1",
        "heat apple 2 with microwave 1",
        "go to fridge 1",
        "move apple 2 to fridge 1",
    )


def test_a_plan_turns_the_lamp_on_last():
    furniture = [Furniture("desk 1", 1, ("desklamp 1",)), Furniture("shelf 1", 2, ("mug 1",))]
    game = make_game("look_at_obj_in_light", "mug", "desklamp", furniture)
    assert shortest_plan(game) == ("go to shelf 1", "take mug 1 from shelf 1", "go to desk 1", "use desklamp 1")


def test_what_is_clean_is_not_cleaned_again():
    game = make_game("pick_clean_then_place_in_recep", "mug", "desk", MUG_IN_DRAWER, facts=["isclean <mug 1>"])
    assert plan_length(game) == 5


def test_receptacles_at_one_location_need_no_going():
    furniture = [Furniture("desk 1", 1, ("mug 1",)), Furniture("shelf 1", 1)]
    game = make_game("pick_and_place_simple", "mug", "shelf", furniture)
    assert shortest_plan(game) == ("go to desk 1", "take mug 1 from desk 1", "move mug 1 to shelf 1")


def test_an_object_in_two_receptacles_need_not_be_put_back():
    furniture = [Furniture("desk 1", 1, ("mug 1",)), Furniture("shelf 1", 2, ("mug 1",)), Furniture("sinkbasin 1", 3)]
    game = make_game("pick_clean_then_place_in_recep", "mug", "shelf", furniture)
    assert shortest_plan(game) == (
        "go to desk 1",
        "take mug 1 from desk 1",
        "go to sinkbasin 1",
        "clean mug 1 with sinkbasin 1",
    )


def test_one_of_two_objects_may_lie_there_already():
    furniture = [Furniture("shelf 1", 1, ("mug 1",)), Furniture("shelf 2", 2), Furniture("desk 1", 3, ("mug 2",))]
    game = make_game("pick_two_obj_and_place", "mug", "shelf", furniture)
    assert shortest_plan(game) == ("go to desk 1", "take mug 2 from desk 1", "go to shelf 1", "move mug 2 to shelf 1")


def test_what_is_held_and_not_wanted_is_put_down_first(kitchen: Game):
    state = kitchen.initial
    for command in ("go to countertop 1", "take plate 1 from countertop 1"):
        state = transition(kitchen, state, admissible_actions(kitchen, state).action(command) or Action("look"))
    assert shortest_plan(kitchen, state)[0].startswith("move plate 1 to ")
    assert plan_length(kitchen, state) == 1 + 6


def test_a_plan_from_the_goal_is_empty(kitchen: Game):
    env = Env(kitchen)
    env.reset()
    for command in shortest_plan(kitchen):
        env.step(command)
    assert shortest_plan(kitchen, env.game_state) == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"without": ["pickupable <mug 1>"]},
        {"without": ["cancontain desktype mugtype"]},
        {"without": ["inreceptacle <mug 1> <drawer 1>"]},
        {"without": ["receptacleatlocation <desk 1> <loc 2>"]},
    ],
)
def test_where_nothing_wins_there_is_no_plan(changes: Any):
    game = make_game("pick_and_place_simple", "mug", "desk", MUG_IN_DRAWER, start=1, **changes)
    with pytest.raises(UnsolvableError, match=r"^no sequence of commands wins from this state$"):
        shortest_plan(game)


def test_only_what_a_plan_can_do_has_words(kitchen: Game):
    with pytest.raises(ValueError, match="no plan has the action"):
        command_of(kitchen, Action("look"))


@pytest.mark.parametrize("seed", range(80))
def test_no_sequence_of_commands_is_shorter(seed: int):
    rng = random.Random(seed)
    game = odd_game(rng)
    state = wander(game, rng.choice((0, 3, 10, 30)), rng)
    limit = 8
    found, brute = plan_length(game, state), shortest_length(game, state, limit)
    assert (found if found is not None and found <= limit else None) == brute


@pytest.mark.real_games
def test_plans_are_as_long_as_the_walkthroughs_of_the_real_games(real_game_paths: list[Path]):
    games = [game for game in map(load_game, real_game_paths) if game.walkthrough is not None]
    different = {
        g.id: (len(shortest_plan(g)), len(g.walkthrough or ()))
        for g in games
        if plan_length(g) != len(g.walkthrough or ())
    }
    assert different == {}
    assert len(games) >= 140


@pytest.mark.real_games
def test_real_games_can_be_won_from_anywhere_but_with_a_thing_in_hand_that_fits_nowhere(real_game_paths: list[Path]):
    rng = random.Random(0)
    stuck = []
    for game in map(load_game, rng.sample(real_game_paths, 120)):
        state = wander(game, 25, rng)
        fits = any(game.objects[state.held].type in place.can_contain for place in game.receptacles)
        if (plan_length(game, state) is None) != (state.held >= 0 and not fits and not goal_reached(game, state)):
            stuck.append(game.id)
    assert stuck == []
