"""What is learned from which episodes."""

from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")

from alfworld_sft.rl.config import build_rl_config
from alfworld_sft.rl.credit import credit_of
from alfworld_sft.rl.rollout import Group, distances_of
from alfworld_sft.world.plan import shortest_plan
from tests.episodes import episode, step
from tests.rl.helpers import played


def credit(groups, *overrides):
    return credit_of(groups, build_rl_config(overrides))


def test_a_game_whose_episodes_all_end_alike_teaches_nothing_and_is_counted():
    won, lost = played(turns=2), played(turns=3, success=False)
    found = credit([Group(0, None, (won, lost)), Group(1, None, (won, won)), Group(2, None, (lost, lost))])
    assert (found.without_signal, [lesson.episode for lesson in found.lessons]) == (2, [won, lost])
    assert found.rewards == [1, 0, 1, 1, 0, 0]
    better, worse = (lesson.advantages for lesson in found.lessons)
    assert better == (better[0],) * 2
    assert worse == (-better[0],) * 3


def test_an_episode_that_a_failure_ended_teaches_nothing_and_is_compared_with_none():
    won, lost = played(turns=2), played(turns=3, success=False)
    failed = replace(lost, error="timed out after 120 s")
    found = credit([Group(0, None, (won, failed)), Group(1, None, (won, lost, failed)), Group(2, None, (failed,))])
    assert (found.without_signal, [lesson.episode for lesson in found.lessons]) == (2, [won, lost])
    assert found.rewards == [1, 1, 0]
    better, worse = (lesson.advantages[0] for lesson in found.lessons)
    assert better == -worse  # the mean is that of two


def test_games_without_a_difference_count_in_the_constant_of_dr_grpo_alone():
    won, lost = played(turns=2), played(turns=2, success=False)
    found = credit([Group(0, None, (won, lost)), Group(1, None, (won, won))])
    assert {kind: float(found.samples(kind, 10)[0].weight.max()) for kind in ("dapo", "grpo", "dr_grpo")} == (
        pytest.approx({"dapo": 1 / 6, "grpo": 1 / 6, "dr_grpo": 1 / 40})
    )


def test_invalid_actions_cost_their_penalty():
    clean, invalid = played(turns=3), played(turns=3, invalid=2)
    found = credit([Group(0, None, (clean, invalid))], "rl.invalid_penalty=0.1", "rl.scale_rewards=none")
    assert found.rewards == [1, pytest.approx(0.8)]
    assert [lesson.advantages[0] for lesson in found.lessons] == pytest.approx([0.1, -0.1])


def test_best_of_learns_the_executed_turns_of_won_episodes():
    won, lost = played(turns=3, invalid=1), played(turns=3, success=False)
    found = credit([Group(0, None, (lost, won)), Group(1, None, (lost, lost))], "rl.method=best_of")
    (lesson,) = found.lessons
    assert (found.without_signal, lesson.episode, lesson.trained) == (1, won, (False, True, True))


@pytest.mark.parametrize(
    ("loss_type", "of_the_long", "of_the_short"),
    [("dapo", 1 / 7, 1 / 7), ("grpo", 1 / 12, 1 / 2), ("dr_grpo", 1 / 40, 1 / 40)],
)
def test_the_weights_of_an_episodes_tokens_count_all_of_its_sequences(loss_type, of_the_long, of_the_short):
    found = credit([Group(0, None, (played(turns=3), played(turns=1, success=False)))])
    samples = found.samples(loss_type, 20)
    assert [len(sample) for sample in samples] == [3, 4, 5, 3]  # prompts do not continue each other
    weights = [float(sample.weight.max()) for sample in samples]
    assert weights == pytest.approx([of_the_long] * 3 + [of_the_short])


def test_distances_are_those_of_the_episodes_states(kitchen):
    walk = shortest_plan(kitchen)
    steps = tuple(replace(step(), command=command) for command in ("look", *walk))
    found = distances_of(kitchen, episode(steps=steps))
    assert found == [len(walk), *range(len(walk), -1, -1)]
