"""How much a token counts under each loss type; that the sums are TRL's is in test_trl."""

import pytest

np = pytest.importorskip("numpy", reason="training is an extra: pip install 'alfworld-sft[train]'")

from alfworld_sft.rl.weights import token_weights


def test_each_loss_type_is_the_mean_that_it_says() -> None:
    lengths = [2, 6]
    assert token_weights(lengths, "dapo", 10).tolist() == [1 / 8, 1 / 8]
    assert token_weights(lengths, "grpo", 10).tolist() == [1 / 4, 1 / 12]
    assert token_weights(lengths, "dr_grpo", 10).tolist() == [1 / 20, 1 / 20]


def test_a_sequence_without_tokens_counts_as_a_sequence() -> None:
    assert token_weights([0, 4], "grpo", 10)[1] == 1 / 8
    assert token_weights([0, 4], "dr_grpo", 10)[1] == 1 / 20
    assert token_weights([0, 4], "dapo", 10)[1] == 1 / 4
    assert token_weights([], "grpo", 10).tolist() == []
    assert np.isfinite(token_weights([0], "dapo", 10)).all()
