"""Does training compute the model's own loss? Two short packed rows are compared with the model's logits for each.

Architectures scale their logits, restrict attention to a window, or carry a state from one token to the next; a list of
such cases would have gaps. So every run checks the model itself before the first step.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from alfworld_sft.models.load import ModelError, base_of, context_of
from alfworld_sft.train.data.sample import Sample
from alfworld_sft.train.model.attention import PACKED, Segments
from alfworld_sft.train.model.prepare import LossModule

logger = logging.getLogger(__name__)

SHORT, LONG = 24, 40
"""Tokens of the two rows; the first is longer if the model behaves differently from some length on."""
_ROUNDING = {torch.float32: 1e-3, torch.bfloat16: 0.05}
"""Difference between two kernels, relative to the mean loss (or to 1): the largest of one token; in bfloat16 the mean.

Measured: a fine-tuned model far from its data, in bfloat16, has 0.14 for one token, and 0.02 on the mean.
"""
_NEIGHBOUR = {torch.float32: 1e-5, torch.bfloat16: 1e-4}
"""The same between two passes of equal shape, in which the row has different neighbours.

Measured: exactly 0 without a leak, more than twice this value with one.
"""


@dataclass(frozen=True, slots=True)
class OwnLoss:
    """Two rows of token ids, and the last losses of each, at most SHORT - 1, as computed by the model itself."""

    rows: tuple[Tensor, Tensor]
    nll: tuple[Tensor, Tensor]


def probe_rows(samples: Sequence[Sample], config: Any, longest_row: int | None) -> tuple[Tensor, Tensor]:
    """Return a longer and a shorter row of the samples' tokens.

    The longer one is long enough to trigger any special behaviour beyond a window or the original context, as far as
    rows of at most `longest_row` tokens meet it; None stands for rows as long as the model's context.
    """
    limit = longest_row or context_of(config)
    bounds = [length for length in _lengths_in(config.to_dict()) if length < limit]
    longest = max([LONG, *(min(length + 8, limit) for length in bounds)])
    tokens = np.concatenate([sample.ids for sample in samples[:8]])
    stream = torch.from_numpy(np.resize(tokens, longest + SHORT).astype(np.int64))
    return stream[:longest], stream[longest:]


def own_loss(model: Any, rows: tuple[Tensor, Tensor], autocast: torch.dtype | None) -> OwnLoss:
    """Return the losses of the model as loaded, for each row alone."""
    attention = model.config._attn_implementation
    model.set_attn_implementation("sdpa" if attention == PACKED else attention)
    training = model.training
    model.eval()
    try:
        first, second = (_own_nll(model, row, autocast) for row in rows)
    finally:
        model.train(training)
        model.set_attn_implementation(attention)
    return OwnLoss(rows, (first, second))


def may_be_packed(name: str, module: LossModule, own: OwnLoss) -> bool:
    """Return whether the module's losses equal the model's own when rows share a pass, and log a warning if not.

    Raises ModelError if they differ even for one row at a time.
    """
    training = module.training
    module.eval()
    try:
        return _compare(name, module, own)
    finally:
        module.train(training)


def _compare(name: str, module: LossModule, own: OwnLoss) -> bool:
    dtype = torch.bfloat16 if module.autocast == torch.bfloat16 else torch.float32
    architecture = type(base_of(module.model)).__name__
    first, second = own.rows
    alone = [_module_nll(module, [row])[0] for row in own.rows]
    apart = _distance(alone, own.nll, dtype)
    if not apart <= _ROUNDING[dtype]:  # also true for NaN
        way_out = "; write model.attention=sdpa" if module.packed else ""
        raise ModelError(
            f"{name}: {architecture} computes another loss than its last layer and output matrix give"
            f" ({float(own.nll[1].mean()):.4f}, not {float(alone[1].mean()):.4f}, on a short row);"
            f" it cannot be trained here{way_out}"
        )
    packed = _module_nll(module, [first, second])
    beside_another = _module_nll(module, [first.flip(0), second])
    leak = _distance(packed[1:], beside_another[1:])
    apart = _distance(packed, own.nll, dtype)
    if apart <= _ROUNDING[dtype] and leak <= _NEIGHBOUR[dtype]:
        return True
    logger.warning(
        "%s: %s lets rows in one pass change one another's loss (by up to %.2g): each pass takes one row, which is"
        " exact but slower",
        name,
        architecture,
        max(apart, leak),
    )
    return False


@torch.no_grad()
def _own_nll(model: Any, row: Tensor, autocast: torch.dtype | None) -> Tensor:
    device = next(model.parameters()).device
    row = row.to(device)
    few = {"logits_to_keep": SHORT} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    with torch.autocast(device.type, autocast or torch.bfloat16, enabled=autocast is not None):
        logits = model(input_ids=row[None], use_cache=False, **few).logits[0, -SHORT:-1]
    return functional.cross_entropy(logits.float(), row[-SHORT:][1:], reduction="none")


@torch.no_grad()
def _module_nll(module: LossModule, rows: Sequence[Tensor]) -> list[Tensor]:
    """Return the last losses of each of several rows in one pass."""
    device = next(module.parameters()).device
    ids = torch.cat(list(rows))[None].to(device)
    positions = torch.cat([torch.arange(len(row)) for row in rows])[None].to(device)
    bounds = torch.tensor([0, *(len(row) for row in rows)]).cumsum(0)
    labels = torch.full_like(ids, -100)
    for end in bounds[1:].tolist():
        labels[0, end - SHORT : end - 1] = ids[0, end - SHORT + 1 : end]
    weights = torch.ones_like(ids, dtype=torch.float32)
    nll = module(ids, positions, labels, weights, Segments.of(bounds, device)).nll
    return [nll[0, end - SHORT : end - 1] for end in bounds[1:].tolist()]


def _distance(found: Sequence[Tensor], expected: Sequence[Tensor], dtype: torch.dtype = torch.float32) -> float:
    """Return the largest difference of one token, or in bfloat16 the mean one, relative to the mean loss or to 1."""
    a, b = torch.cat(list(found)), torch.cat(list(expected))
    difference = (a - b).abs()
    return float((difference.mean() if dtype == torch.bfloat16 else difference.max()) / b.mean().clamp(min=1))


def _lengths_in(values: Mapping[str, Any]) -> Iterator[int]:
    """Yield the lengths of windows, chunks and original contexts in a config."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _lengths_in(value)
        elif isinstance(value, int) and any(word in key for word in ("window", "chunk", "original_max_position")):
            yield value
