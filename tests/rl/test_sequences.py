"""Episodes become the token sequences that they were sampled as."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")

from alfworld_sft.errors import UserError
from alfworld_sft.rl.sequences import NO_TURN, SampledTurn, fold_turns, played_samples
from alfworld_sft.types import Reply
from tests.episodes import episode, step


def turn(prompt, said):
    return SampledTurn(prompt, said, [-0.1 * token for token in said])


def test_turns_fold_while_each_prompt_begins_with_everything_before_it():
    (folded,) = fold_turns([turn([1, 2], [3, 4]), turn([1, 2, 3, 4, 5], [6]), turn([1, 2, 3, 4, 5, 6, 7, 8], [9])])
    assert folded.ids == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert folded.turns == [NO_TURN, NO_TURN, 0, 0, NO_TURN, 1, NO_TURN, NO_TURN, 2]
    assert folded.logprobs == pytest.approx([0, 0, -0.3, -0.4, 0, -0.6, 0, 0, -0.9])


def test_a_reply_that_the_next_prompt_spells_otherwise_keeps_its_tokens_and_its_context():
    first, second = fold_turns([turn([1, 2], [3, 3]), turn([1, 2, 33, 5], [6]), turn([1, 2, 33, 5, 6, 7], [8])])
    assert (first.ids, first.turns) == ([1, 2, 3, 3], [NO_TURN, NO_TURN, 0, 0])
    assert second.ids == [1, 2, 33, 5, 6, 7, 8]
    assert second.turns == [NO_TURN] * 4 + [1, NO_TURN, 2]


def test_single_turn_prompts_have_a_sequence_each():
    assert [s.ids for s in fold_turns([turn([1], [2]), turn([5, 1], [3])])] == [[1, 2], [5, 1, 3]]


def sampled_episode(*turns):
    replies = [
        Reply("go", prompt_token_ids=tuple(t.prompt), token_ids=tuple(t.said), logprobs=tuple(t.logprobs))
        for t in turns
    ]
    return episode(steps=tuple(replace(step(number), reply=reply) for number, reply in enumerate(replies, 1)))


def test_each_sampled_token_has_its_turns_advantage_and_the_rest_no_weight():
    played = sampled_episode(turn([1, 2], [3]), turn([1, 2, 3, 4], [5, 6]))
    (sample,) = played_samples(played, [0.5, -2.0], [True, True])
    assert sample.ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert sample.weight.tolist() == [0, 0, 1, 0, 1, 1]
    assert sample.advantages.tolist() == [0, 0, 0.5, 0, -2, -2]
    assert sample.weight.dtype == np.float32


def test_turns_that_are_not_trained_are_context():
    played = sampled_episode(turn([1, 2], [3]), turn([1, 2, 3, 4], [5, 6]), turn([9], [9]))
    (sample,) = played_samples(played, [1.0, 1.0, 1.0], [False, True, False])
    assert sample.weight.tolist() == [0, 0, 0, 0, 1, 1]


def test_a_policy_that_does_not_report_its_tokens_is_refused():
    played = episode(turns=1)
    with pytest.raises(UserError, match="does not report token ids and log-probabilities"):
        list(played_samples(played, [1.0], [True]))
