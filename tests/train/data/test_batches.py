import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")

import numpy as np

from alfworld_sft.train.checkpoint import Position
from alfworld_sft.train.data.batches import BatchSchedule, fingerprint, micro_batches, share_out, total_weight
from alfworld_sft.train.data.sample import Sample


def sample(length, key="k"):
    weight = np.ones(length, np.float32)
    return Sample(np.arange(length, dtype=np.int32), weight, np.full(length, 4, np.uint8), 1, False, key)


def test_a_run_can_be_entered_at_every_position():
    plan = BatchSchedule([1] * 10, 3, seed=5, epochs=3, steps=None)
    whole = list(plan.batches(Position(0, 0, 0)))
    assert len(whole) == plan.total == 12
    for done, batch in enumerate(whole, 1):
        assert list(plan.batches(batch.after)) == whole[done:]


def test_every_epoch_shows_each_sample_once_in_another_order():
    plan = BatchSchedule([1] * 10, 3, seed=5, epochs=2, steps=None)
    first, second = ([i for batch in plan.epoch(n) for i in batch] for n in (0, 1))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert first != [i for batch in BatchSchedule([1] * 10, 3, seed=6, epochs=2, steps=None).epoch(0) for i in batch]


def test_steps_decide_where_they_are_given():
    plan = BatchSchedule([1] * 10, 3, seed=5, epochs=1, steps=6)
    batches = list(plan.batches(Position(0, 0, 0)))
    assert [batch.after for batch in batches][-2:] == [Position(5, 1, 1), Position(6, 1, 2)]
    assert [batch.after.batch == 0 for batch in batches] == [False, False, False, True, False, False]
    assert [batch.epochs for batch in batches] == [0.25, 0.5, 0.75, 1.0, 1.25, 1.5]


def test_sharing_balances_tokens():
    shares = share_out([100, 10, 10, 10, 60, 10], 2)
    assert sorted(i for share in shares for i in share) == list(range(6))
    assert sorted(sum([100, 10, 10, 10, 60, 10][i] for i in share) for share in shares) == [100, 100]


def test_every_process_gets_equally_many_micro_batches():
    samples = [sample(50), sample(5), sample(5)]
    per_rank = [micro_batches(samples, rank, 4, 64) for rank in range(4)]
    assert [len(batches) for batches in per_rank] == [1, 1, 1, 1]
    weights = [float(batches[0].weights.sum()) for batches in per_rank]
    assert sorted(weights) == [0, 4, 4, 49], "the filler has no weight"
    assert sum(weights) == total_weight(samples)


def test_the_fingerprint_knows_every_token_and_weight():
    one, other = sample(5), sample(5)
    assert fingerprint([one]) == fingerprint([other])
    other.weight[2] = 0.5
    assert fingerprint([one]) != fingerprint([other])
