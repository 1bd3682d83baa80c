"""Folding is exact with branches: a teacher's answers beside one conversation have the gradient of a pass for each row.

The oracle is that of `test_exact`: each row alone, with whole logits and without our attention.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training is not installed (pip install -e '.[train]')")
pytest.importorskip("peft", reason="training is not installed (pip install -e '.[train]')")

import torch

from alfworld_sft.dataset.read import Columns
from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.train.data.batches import micro_batches
from alfworld_sft.train.data.options import SampleOptions
from alfworld_sft.train.data.sample import Sample
from alfworld_sft.train.data.samples import load_samples
from alfworld_sft.train.learner import forward
from alfworld_sft.train.model.attention import PACKED
from alfworld_sft.train.model.prepare import LossModule
from tests.train.helpers_data import extra, messages, rows, taught, tiny_model, tiny_tokenizer, wandering, write
from tests.train.test_exact import cut, gradient

torch.set_num_threads(1)
TOKENIZER = tiny_tokenizer()
ENCODER = ChatEncoder(TOKENIZER)
EPISODES = [taught(0, 6, agreed=(2, 5)), taught(1, 4), taught(2, 3, agreed=(1, 2, 3)), wandering(3, 3, noisy=(2,))]
RECORDS = rows(EPISODES)
TRUNCATIONS = ("none", "right", "turn", "left")


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model(TOKENIZER).eval()


def limit_of(truncation: str) -> int:
    """Return a length that cuts the longest rows inside a reply."""
    return 4096 if truncation == "none" else ENCODER.encode_conversation(messages(RECORDS[4])).ends[3] - 8


def row_by_row(model: Any, records: list[dict[str, Any]], weighting: str, truncation: str, limit: int) -> Any:
    """Return the gradient of the token mean over rows; uniform: a row trains what no shorter row of it trains."""
    model.set_attn_implementation("sdpa")
    model.zero_grad()
    total = 0
    trained_already: set[tuple[str, int]] = set()
    for record in records:
        facts = extra(record)
        encoded = ENCODER.encode_conversation(messages(record), [t - 1 for t in facts["untrained_turns"]])
        first, last = cut(encoded, truncation, limit)
        mask = torch.tensor(encoded.mask[first:last])
        own = facts["turn"] - 1
        if weighting == "uniform":
            begun = {turn for episode, turn in trained_already if episode == facts["episode_id"]}
            begun -= {own} if "answer_by" in facts else set()
            mask &= torch.tensor([turn not in begun for turn in encoded.turn[first:last]])
            branch = {own} if "answer_by" in facts else set()
            context = set(range(facts["turn"])) - branch - {t - 1 for t in facts["untrained_turns"]}
            trained_already |= {(facts["episode_id"], turn) for turn in context}
        mask[0] = False
        ids = torch.tensor([encoded.ids[first:last]])
        logits = model(ids, use_cache=False).logits[0, :-1]
        nll = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
        nll[mask[1:]].sum().backward()
        total += int(mask.sum())
    return gradient(model) / total


def load(path: Path, truncation: str, limit: int, **options: Any) -> list[Sample]:
    chosen = SampleOptions(
        max_length=limit,
        truncation="error" if truncation == "none" else truncation,  # type: ignore[arg-type]
        **options,
    )
    return load_samples([path], ENCODER, Columns(multiturn=True), chosen).samples


def trained(model: Any, samples: list[Sample], budget: int = 3000, attention: str = PACKED) -> Any:
    """Return the gradient as training takes it."""
    model.set_attn_implementation(attention)
    model.zero_grad()
    module = LossModule(model)
    total = sum(float(sample.weight.sum()) for sample in samples)
    for batch in micro_batches(samples, 0, 1, budget, branches=module.packed):
        (forward(module, batch, torch.device("cpu"))[0] / total).backward()
    return gradient(model)


def apart(found: Any, expected: Any) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@pytest.mark.parametrize("weighting", ["uniform", "cumulative"])
def test_branches_folded_and_packed_are_row_by_row(model: Any, tmp_path: Path, weighting: str, truncation: str) -> None:
    limit = limit_of(truncation)
    samples = load(write(tmp_path / "train.parquet", RECORDS), truncation, limit, weighting=weighting)
    assert len(samples) == 4 or truncation == "left"
    alone = load(tmp_path / "train.parquet", truncation, limit, weighting=weighting, fold=False)
    assert sum(sample.rows for sample in samples) == len(alone)
    assert apart(trained(model, samples), row_by_row(model, RECORDS, weighting, truncation, limit)) < 1e-5


@pytest.mark.parametrize("truncation", TRUNCATIONS)
def test_branches_are_exact_with_observations_and_weighted_predictions(
    model: Any, tmp_path: Path, truncation: str
) -> None:
    file = write(tmp_path / "train.parquet", RECORDS)
    options = {"prediction_weight": 0.3, "observation_weight": 0.7}
    alone = load(file, truncation, limit_of(truncation), fold=False, **options)
    folded = load(file, truncation, limit_of(truncation), **options)
    assert sum(map(len, folded)) < sum(map(len, alone))
    assert apart(trained(model, folded), trained(model, alone)) < 1e-5


@pytest.mark.parametrize(("budget", "attention"), [(700, PACKED), (1, PACKED), (3000, "sdpa")])
def test_branches_that_do_not_fit_or_that_the_model_cannot_attend_to_are_exact(
    model: Any, tmp_path: Path, budget: int, attention: str
) -> None:
    samples = load(write(tmp_path / "train.parquet", RECORDS), "none", 4096)
    assert max(map(len, samples)) > 700
    assert apart(trained(model, samples, budget, attention), trained(model, samples)) < 1e-5


def test_the_order_of_the_rows_changes_nothing(model: Any, tmp_path: Path) -> None:
    ordered = load(write(tmp_path / "train.parquet", RECORDS), "none", 4096)
    turned = load(write(tmp_path / "train.parquet", RECORDS[::-1]), "none", 4096)
    assert sorted(map(len, turned)) == sorted(map(len, ordered))
    assert apart(trained(model, turned), trained(model, ordered)) < 1e-5
