"""Samples → steps and micro-batches: counts, labels, and no contamination between packed samples."""

from __future__ import annotations

import random
from typing import Any

import pytest

pytest.importorskip("torch", reason="training is not installed (pip install -e '.[train]')")
pytest.importorskip("transformers", reason="training is not installed (pip install -e '.[train]')")

import numpy as np
import torch

from alfworld_sft.train.data.batches import count_steps, global_batches
from alfworld_sft.train.data.pack import IGNORED, Packed, pack
from alfworld_sft.train.data.sample import Sample
from tests.train.helpers_data import tiny_model, tiny_tokenizer

torch.set_num_threads(1)


def sample(length: int, seed: int = 0, trained: int | None = None) -> Sample:
    """Return random tokens, the last of which carry loss with different weights."""
    rng = np.random.default_rng(seed * 1000 + length)
    weight = np.zeros(length, np.float32)
    last = length // 2 if trained is None else trained
    weight[length - last :] = rng.uniform(0.5, 3, last)
    ids = rng.integers(0, 400, length).astype(np.int32)
    return Sample(ids, weight, (weight > 0).astype(np.uint8) * 4, rows=1, truncated=False, key=str(length))


def test_steps_have_the_rows_of_a_batch_and_are_as_many_as_row_by_row() -> None:
    batches = global_batches([1] * 10, range(10), 4)
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_folding_keeps_the_number_of_steps_in_any_order() -> None:
    rng = random.Random(0)
    for _ in range(300):
        batch = rng.randint(5, 40)
        rows = [rng.randint(1, batch) for _ in range(rng.randint(1, 60))]
        order = list(range(len(rows)))
        rng.shuffle(order)
        batches = global_batches(rows, order, batch)
        assert len(batches) == count_steps(rows, batch)
        assert [index for one in batches for index in one] == order
        done = 0
        for one in batches[:-1]:  # no step begins a whole sample too early or too late
            done += sum(rows[index] for index in one)
            assert abs(done - batch * (batches.index(one) + 1)) <= batch


def test_a_trajectory_larger_than_a_batch_is_a_step_of_its_own() -> None:
    assert global_batches([10, 10, 1], [0, 1, 2], 4) == [[0], [1], [2]]


def test_no_samples_make_no_steps() -> None:
    assert global_batches([], [], 4) == []


def test_labels_are_the_next_tokens_that_carry_loss() -> None:
    one, two = sample(6, trained=2), sample(4, trained=1)
    (packed,) = pack([one, two], 16)
    ids = [*one.ids, *two.ids]
    none = IGNORED
    assert packed.input_ids.tolist() == [ids]
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 4, 5, 0, 1, 2, 3]]
    assert packed.labels.tolist() == [[none, none, none, ids[4], ids[5], none, none, none, ids[9], none]]
    assert packed.weights.tolist() == [[0, 0, 0, *one.weight[4:].tolist(), 0, 0, 0, two.weight[3].item(), 0]]
    assert packed.kinds.tolist() == [[0, 0, 0, 4, 4, 0, 0, 0, 4, 0]]
    assert (packed.cu_seqlens.tolist(), packed.tokens) == ([0, 6, 10], 10)


def test_packing_stays_within_the_budget_and_loses_nothing() -> None:
    samples = [sample(length, seed) for seed, length in enumerate((30, 50, 20, 70, 90, 10, 40, 60, 80, 100))]
    packs = pack(samples, 110)
    assert all(packed.tokens <= 110 for packed in packs)
    assert len(packs) == 5  # 550 tokens in bins of 110
    lengths = [length for packed in packs for length in packed.cu_seqlens.diff().tolist()]
    assert sorted(lengths) == sorted(map(len, samples))


def test_a_sample_over_the_budget_is_alone() -> None:
    assert [packed.tokens for packed in pack([sample(20), sample(5)], 10)] == [20, 5]


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(request: pytest.FixtureRequest) -> Any:
    made = tiny_model(tiny_tokenizer())
    made.set_attn_implementation(request.param)
    return made


def gradients(model: Any, batches: list[Packed]) -> tuple[float, Any]:
    """Return the summed loss and all gradients, flat."""
    model.zero_grad()
    total = 0.0
    for batch in batches:
        logits = model(batch.input_ids, position_ids=batch.position_ids, use_cache=False).logits
        nll = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORED, reduction="none"
        )
        loss = (nll * batch.weights.flatten()).sum()
        loss.backward()
        total += loss.item()
    return total, torch.cat([p.grad.flatten() for p in model.parameters()])


def test_samples_together_have_the_loss_and_gradient_of_each_alone(model: Any) -> None:
    samples = [sample(length, seed) for seed, length in enumerate((17, 40, 8, 33, 25))]
    alone_loss, alone = gradients(model, [packed for one in samples for packed in pack([one], 1)])
    packs = pack(samples, 200)
    assert len(packs) == 1
    loss, gradient = gradients(model, packs)
    assert abs(loss - alone_loss) / alone_loss < 1e-6
    assert ((gradient - alone).norm() / alone.norm()).item() < 1e-5


def test_a_packed_sample_has_the_logits_it_has_alone(model: Any) -> None:
    samples = [sample(length, seed) for seed, length in enumerate((40, 33, 25))]
    (packed,) = pack(samples, 200)
    with torch.no_grad():
        logits = model(packed.input_ids, position_ids=packed.position_ids, use_cache=False).logits[0]
        alone = [model(torch.from_numpy(s.ids[None].astype(np.int64)), use_cache=False).logits[0] for s in samples]
    assert (logits - torch.cat(alone)).abs().max().item() < 1e-5
