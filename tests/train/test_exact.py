"""Folding is exact: one pass over the longest conversation has the gradient of training every row by itself.

The oracle is written from scratch: each row is tokenised alone and cut alone, its loss comes from whole logits, and
the sum over all rows is divided by the number of their trained tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training is not installed (pip install -e '.[train]')")
pytest.importorskip("peft", reason="training is not installed (pip install -e '.[train]')")

import peft
import torch

from alfworld_sft.dataset.read import Columns
from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.models.loss_mask import Encoded
from alfworld_sft.train.data.options import SampleOptions
from alfworld_sft.train.data.pack import pack
from alfworld_sft.train.data.samples import load_samples
from alfworld_sft.train.model.loss import weighted_loss
from tests.train.helpers_data import extra, messages, rows, tiny_model, tiny_tokenizer, wandering, write

torch.set_num_threads(1)
TOKENIZER = tiny_tokenizer()
ENCODER = ChatEncoder(TOKENIZER)
RECORDS = rows([wandering(0, turns=6, noisy=(2,)), wandering(1, turns=3), wandering(2, turns=5, noisy=(3, 4))])
TRUNCATIONS = ("none", "right", "turn", "left")


@pytest.fixture(scope="module", params=["full", "lora"])
def model(request: pytest.FixtureRequest) -> Any:
    made = tiny_model(TOKENIZER)
    if request.param == "full":
        return made
    torch.manual_seed(0)
    made = peft.get_peft_model(made, peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    return made.eval()


def gradient(model: Any) -> Any:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])


def cut(encoded: Encoded, truncation: str, limit: int) -> tuple[int, int]:
    length = len(encoded)
    if truncation == "none" or length <= limit:
        return 0, length
    if truncation == "turn":
        return 0, max(end for end in encoded.ends if end <= limit)
    return (0, limit) if truncation == "right" else (length - limit, length)


def row_by_row(model: Any, records: list[dict[str, Any]], weighting: str, truncation: str, limit: int) -> Any:
    """Return the gradient of the token mean over rows; uniform: a row trains what no shorter row of it trains."""
    model.zero_grad()
    total = 0
    trained_already: set[tuple[str, int]] = set()
    for record in records:
        facts = extra(record)
        encoded = ENCODER.encode_conversation(messages(record), [t - 1 for t in facts["untrained_turns"]])
        first, last = cut(encoded, truncation, limit)
        mask = torch.tensor(encoded.mask[first:last])
        if weighting == "uniform":
            new = [(facts["episode_id"], turn) not in trained_already for turn in encoded.turn[first:last]]
            mask &= torch.tensor(new)
            trained_already |= {(facts["episode_id"], turn) for turn in range(facts["turn"])}
        mask[0] = False
        ids = torch.tensor([encoded.ids[first:last]])
        logits = model(ids, use_cache=False).logits[0, :-1]
        nll = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
        nll[mask[1:]].sum().backward()
        total += int(mask.sum())
    return gradient(model) / total


def folded(model: Any, path: Path, weighting: str, truncation: str, limit: int, **options: Any) -> tuple[Any, int]:
    """Return the gradient as training takes it, and how many sequences that took."""
    chosen = SampleOptions(
        max_length=limit if truncation != "none" else 4096,
        truncation="error" if truncation == "none" else truncation,  # type: ignore[arg-type]
        weighting=weighting,  # type: ignore[arg-type]
        **options,
    )
    samples = load_samples([path], ENCODER, Columns(multiturn=True), chosen).samples
    model.zero_grad()
    total = sum(float(sample.weight.sum()) for sample in samples)
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    for batch in pack(samples, 3000):
        hidden = causal.model(batch.input_ids, position_ids=batch.position_ids, use_cache=False).last_hidden_state
        head = causal.lm_head.weight
        loss = weighted_loss(hidden, head, batch.labels, batch.weights, chunk=100).loss
        (loss / total).backward()
    return gradient(model), len(samples)


def limit_of(truncation: str) -> int:
    """Return a length that cuts the longest trajectories inside a reply."""
    ends = ENCODER.encode_conversation(messages(RECORDS[4])).ends
    return ends[3] - 8 if truncation != "none" else 0


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@pytest.mark.parametrize("weighting", ["uniform", "cumulative"])
@pytest.mark.parametrize("records", [RECORDS, RECORDS[1:4] + RECORDS[6:]], ids=["all rows", "some rows"])
def test_folded_and_packed_is_row_by_row(
    model: Any, tmp_path: Path, weighting: str, truncation: str, records: list[dict[str, Any]]
) -> None:
    limit = limit_of(truncation)
    expected = row_by_row(model, records, weighting, truncation, limit)
    found, sequences = folded(model, write(tmp_path / "train.parquet", records), weighting, truncation, limit)
    assert sequences < len(records)
    assert ((found - expected).norm() / expected.norm()).item() < 1e-5


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@pytest.mark.parametrize("weighting", ["uniform", "cumulative"])
def test_folding_is_exact_with_observations_and_weighted_predictions(
    model: Any, tmp_path: Path, weighting: str, truncation: str
) -> None:
    file = write(tmp_path / "train.parquet", RECORDS)
    options = {"prediction_weight": 0.3, "observation_weight": 0.7}
    expected, several = folded(model, file, weighting, truncation, limit_of(truncation), fold=False, **options)
    found, few = folded(model, file, weighting, truncation, limit_of(truncation), **options)
    assert few < several
    assert ((found - expected).norm() / expected.norm()).item() < 1e-5


def test_the_two_weightings_differ(model: Any, tmp_path: Path) -> None:
    file = write(tmp_path / "train.parquet", RECORDS)
    uniform, _ = folded(model, file, "uniform", "none", 0)
    cumulative, _ = folded(model, file, "cumulative", "none", 0)
    assert ((uniform - cumulative).norm() / uniform.norm()).item() > 0.01
