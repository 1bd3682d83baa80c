"""`reset` and `step`: how an episode runs and ends."""

import pytest

from alfworld_sft.world import Env, Game, Observation

WIN = (
    "go to fridge 1",
    "open fridge 1",
    "take apple 2 from fridge 1",
    "go to microwave 1",
    "heat apple 2 with microwave 1",
    "go to fridge 1",
    "move apple 2 to fridge 1",
)


def play(env: Env, *commands: str) -> Observation:
    """Reset and play these commands; the last observation."""
    observation = env.reset()
    for command in commands:
        observation = env.step(command)
    return observation


def test_reset_tells_the_opening_and_what_can_be_done(kitchen: Game):
    first = Env(kitchen).reset()
    assert first.text.startswith("-= Welcome to TextWorld, ALFRED! =-")
    assert first.admissible_commands[0] == "go to countertop 1"
    assert not first.over


def test_the_last_command_of_a_plan_wins_and_ends_the_episode(kitchen: Game):
    before, last = play(Env(kitchen), *WIN[:-1]), play(Env(kitchen), *WIN)
    assert (before.won, before.terminated, before.truncated, before.over) == (False, False, False, False)
    assert (last.won, last.terminated, last.truncated, last.over) == (True, True, False, True)


def test_reset_begins_anew(kitchen: Game):
    env = Env(kitchen)
    first = env.reset()
    play(env, *WIN)
    assert env.reset() == first
    assert (env.steps, env.state) == (0, kitchen.initial)


def test_two_environments_of_one_game_do_not_disturb_each_other(kitchen: Game):
    one, other = Env(kitchen), Env(kitchen)
    one.reset()
    other.reset()
    one.step("go to fridge 1")
    assert other.step("look").text.startswith("You are in the middle of a room.")


def test_the_step_limit_truncates(kitchen: Game):
    env = Env(kitchen, max_steps=2)
    assert not play(env, "look").over
    last = play(env, "look", "look")
    assert (last.terminated, last.truncated, last.over) == (False, True, True)


def test_a_win_with_the_last_step_is_no_truncation(kitchen: Game):
    last = play(Env(kitchen, max_steps=len(WIN)), *WIN)
    assert (last.terminated, last.truncated) == (True, False)


def test_a_command_that_is_not_admissible_costs_a_step_and_changes_nothing(kitchen: Game):
    env = Env(kitchen)
    play(env, "take apple 1 from countertop 1")
    assert (env.steps, env.state) == (1, kitchen.initial)


@pytest.mark.parametrize("command", ["  look  ", "look\n", "\tlook", "\xa0look\u2003", "look\x1f"])
def test_space_around_a_command_does_not_count(kitchen: Game, command: str):
    assert play(Env(kitchen), command).text.startswith("You are in the middle of a room.")


@pytest.mark.parametrize("command", ["LOOK", "look.", "look around", "go  to fridge 1", "\x00", "look\u200b", "take"])
def test_nothing_else_about_a_command_is_forgiven(kitchen: Game, command: str):
    assert play(Env(kitchen), command).text == "Nothing happens."


def test_it_goes_on_after_the_win_and_tells_whether_the_goal_still_holds(kitchen: Game):
    assert not play(Env(kitchen), *WIN, "take apple 2 from fridge 1").won


def test_a_step_before_the_first_reset_is_a_mistake(kitchen: Game):
    with pytest.raises(RuntimeError, match=r"call reset\(\) before step\(\)"):
        Env(kitchen).step("look")


def test_a_limit_below_one_is_refused(kitchen: Game):
    with pytest.raises(ValueError, match="max_steps must be at least 1, not 0"):
        Env(kitchen, max_steps=0)
