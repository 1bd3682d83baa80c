from dataclasses import replace

import pytest

from alfworld_sft.evaluate.metrics import LOOP_REPEATS, Unplayed, classify_failure, measure
from alfworld_sft.evaluate.statistics import wilson_interval
from tests.episodes import episode, step

PICK, LOOK = "pick_and_place_simple", "look_at_obj_in_light"


def of_steps(*steps, **changes):
    """Return a lost episode that was played to the step limit."""
    return replace(episode(success=False, max_steps=len(steps), **changes), steps=tuple(steps))


def different(count):
    return [replace(step(n), command=f"go to desk {n}") for n in range(1, count + 1)]


def test_success_is_told_in_all_and_by_task_type():
    metrics = measure([episode(0), episode(1, success=False), episode(2, task_type=LOOK)])
    assert (metrics.success().won, metrics.success().played) == (2, 3)
    assert (metrics.success(PICK).won, metrics.success(PICK).played) == (1, 2)
    assert metrics.task_types == (PICK, LOOK)
    assert metrics.success().interval == pytest.approx(wilson_interval(2 / 3, 3))


def test_steps_are_averaged_over_won_episodes_and_over_all():
    metrics = measure([episode(0, turns=4), episode(1, turns=6), episode(2, turns=50, success=False)])
    assert (metrics.mean_steps_when_won, metrics.mean_steps) == (5.0, 20.0)


def test_without_a_win_there_is_no_mean_of_the_won():
    assert measure([episode(success=False)]).mean_steps_when_won is None


def test_replies_that_cannot_be_played_are_counted_by_problem():
    steps = [step(1), step(2, problem="empty"), step(3, problem="not admissible"), step(4, problem="not admissible")]
    found = measure([of_steps(*steps)]).as_dict()["invalid_actions"]
    assert found == {"rate": 0.75, "replies": 3, "of": 4, "by_problem": {"empty": 1, "not admissible": 2}}


def test_an_episode_that_ended_in_an_error_counts_as_lost():
    metrics = measure([episode(0)], [Unplayed(1, "other game", LOOK)])
    assert (metrics.success().won, metrics.success().played) == (1, 2)
    assert metrics.failures == {"error": 1}
    assert metrics.mean_steps == 3.0, "its steps are not those of an episode"


def test_the_same_exchange_again_and_again_is_a_loop():
    there_and_back = [replace(step(n), next_observation="Seen.", command=f"go to desk {n % 2}") for n in range(1, 17)]
    assert classify_failure(of_steps(*different(20), *there_and_back)) == "loop"
    assert classify_failure(of_steps(*different(20), *there_and_back[:-2])) == "step limit"


def test_an_episode_that_was_stopped_before_the_step_limit_is_a_loop():
    assert classify_failure(replace(of_steps(*different(9)), max_steps=50)) == "loop"


def test_exchanges_that_come_back_over_a_long_episode_are_no_loop():
    some = [replace(step(1), next_observation="Seen.", command="look")] * LOOP_REPEATS
    assert classify_failure(of_steps(*some, *different(40))) == "step limit"


def test_the_same_command_with_new_answers_is_no_loop():
    assert classify_failure(of_steps(*(step(n) for n in range(1, 51)))) == "step limit"


def test_an_episode_whose_replies_cannot_be_played_is_invalid_even_if_they_repeat_themselves():
    wrong = replace(step(1, problem="empty"), next_observation="Nothing happens.")
    assert classify_failure(of_steps(*[wrong] * 10)) == "invalid"
    assert classify_failure(of_steps(*[wrong] * 4, *different(5))) == "step limit"


def test_an_episode_with_an_error_has_that_reason():
    assert classify_failure(episode(success=False, error="timed out")) == "error"


def plays(game_id, outcomes, first):
    return [episode(first + 10 * n, game_id=game_id, success=won) for n, won in enumerate(outcomes)]


def test_pass_at_k_is_the_mean_over_games():
    metrics = measure([*plays("a", [True, False, False], 0), *plays("b", [False, False, False], 1)])
    assert metrics.pass_at_k() == pytest.approx({1: 1 / 6, 2: 1 / 3, 3: 1 / 2})


def test_with_one_play_a_game_there_is_no_pass_at_k():
    assert measure([episode(0), episode(1)]).pass_at_k() == {}


def test_plays_of_one_game_do_not_narrow_the_interval():
    repeated = measure([*plays("a", [True] * 9, 0), *plays("b", [False] * 9, 1)])
    once = measure([*plays("a", [True], 0), *plays("b", [False], 1)])
    assert repeated.success().interval == pytest.approx(once.success().interval)


def test_outcomes_are_listed_by_play_in_any_order_of_the_journal():
    episodes = plays("a", [True, False], 0)
    expected = {PICK: {"a": [True, False]}}
    assert measure(episodes).as_dict()["outcomes"] == measure(episodes[::-1]).as_dict()["outcomes"] == expected
