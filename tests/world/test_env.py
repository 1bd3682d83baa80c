"""`reset` and `step`: how an episode runs and ends."""

import pickle
from dataclasses import replace

import pytest

from alfworld_sft.errors import UserError
from alfworld_sft.world import NOT_MEASURED, Env, EnvState, Game, Observation, parse_game
from tests.handmade import kitchen_file

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
    assert (env.steps, env.game_state) == (0, kitchen.initial)


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
    assert (env.steps, env.game_state) == (1, kitchen.initial)


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


def test_a_fork_plays_on_by_itself(kitchen: Game):
    env = Env(kitchen, max_steps=9, with_distance=True)
    play(env, *WIN[:-1])
    before = env.state
    twin = env.fork()
    assert twin.state == before
    won = twin.step(WIN[-1])
    assert (won.won, won.distance, twin.steps) == (True, 0, len(WIN))
    assert env.state == before
    assert env.step("look").distance == 1
    assert twin.state != env.state


def test_a_fork_reaches_its_own_step_limit(kitchen: Game):
    env = Env(kitchen, max_steps=2)
    play(env, "look")
    assert env.fork().step("look").truncated
    assert env.steps == 1


@pytest.mark.parametrize("played", [(), WIN[:4], ("no such command",), WIN])
def test_a_restored_state_is_observed_and_continues_as_the_one_that_was_saved(kitchen: Game, played: tuple[str, ...]):
    env = Env(kitchen, max_steps=len(WIN))
    seen = play(env, *played)
    state: EnvState = pickle.loads(pickle.dumps(env.state))
    same_game = parse_game(kitchen_file(), game_id="kitchen")
    other = Env(same_game, max_steps=len(WIN))
    assert other.restore(state) == seen
    assert other.state == state == env.state
    assert hash(state) == hash(env.state)
    assert other.step("inventory") == env.step("inventory")


def test_the_words_that_led_to_a_state_do_not_count_in_comparisons_but_the_steps_do(kitchen: Game):
    one, two = Env(kitchen), Env(kitchen)
    play(one, "look")
    play(two, "inventory")
    assert one.state == two.state
    two.step("look")
    assert one.state != two.state


def test_the_same_content_under_another_name_is_the_same_game(kitchen: Game):
    env, other = Env(kitchen), Env(replace(kitchen, id="elsewhere", split="valid_seen"))
    env.reset()
    assert other.restore(env.state) == env.reset()


def test_a_state_of_another_game_is_refused(kitchen: Game):
    env, other = Env(kitchen), Env(parse_game(kitchen_file(older=True), game_id="older"))
    env.reset()
    with pytest.raises(
        UserError, match=r"^a state of the game kitchen cannot be restored in older; make an Env of its own game$"
    ):
        other.restore(env.state)
    same_name = Env(replace(other.game, id="kitchen"))
    with pytest.raises(UserError, match=r"cannot be restored in kitchen, whose content differs; make"):
        same_name.restore(env.state)


def test_what_is_no_state_is_refused(kitchen: Game):
    with pytest.raises(UserError, match=r"^Env.restore takes what Env.state gave, not State$"):
        Env(kitchen).restore(kitchen.initial)  # type: ignore[arg-type]


def test_there_is_no_state_before_the_first_reset(kitchen: Game):
    with pytest.raises(RuntimeError, match=r"call reset\(\) before taking the state"):
        _ = Env(kitchen).state


def test_distances_are_given_on_request_alone(kitchen: Game):
    assert play(Env(kitchen), *WIN).distance is NOT_MEASURED
    env = Env(kitchen, with_distance=True)
    seen = [env.reset().distance, *(env.step(command).distance for command in WIN)]
    assert seen == [7, 6, 5, 4, 3, 2, 1, 0]
    assert env.step("take apple 2 from fridge 1").distance == 1


def test_the_step_limit_is_no_part_of_the_distance(kitchen: Game):
    env = Env(kitchen, max_steps=1)
    assert play(env, "look").truncated
    assert env.distance() == 7
