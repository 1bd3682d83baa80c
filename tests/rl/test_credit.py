"""What is learned from which episodes."""

from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")

from alfworld_sft.rl.config import build_rl_config
from alfworld_sft.rl.credit import credit_of
from alfworld_sft.rl.rollout import Group, distances_of
from alfworld_sft.types import Reply
from alfworld_sft.world.plan import shortest_plan
from tests.episodes import episode, step


def played(*, turns: int, success: bool = True, invalid: int = 0):
    """Return an episode whose turn n said n tokens; the first turns are invalid."""
    steps = [
        replace(
            step(n, won=success and n == turns, problem="no action" if n <= invalid else None),
            reply=Reply("x", prompt_token_ids=(n, 0), token_ids=(1,) * n, logprobs=(-0.5,) * n),
        )
        for n in range(1, turns + 1)
    ]
    return episode(success=success, steps=tuple(steps))


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
