"""How many tokens may a pass hold on a CPU? As many as keep its activations within a bound, measured on short rows.

A single row may be longer: a conversation with its branches is one. Beyond a second bound its activations are
recomputed.

The bounds do not depend on the memory that happens to be free: the split into passes changes a sum's rounding, and a
resumed run is to go on bit by bit.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from alfworld_sft.train.data.pack import IGNORED
from alfworld_sft.train.model.attention import Segments
from alfworld_sft.train.model.on_cpu import SIZES
from alfworld_sft.train.model.prepare import LossModule

ACTIVATION_BYTES = 2**30
"""What a pass of several rows keeps for the backward pass."""
KEPT_BYTES = 6 * 2**30
"""What a pass of one row keeps: 7,900 tokens of a model of 135 M parameters in bfloat16."""
LEAST, MOST = 512, 4096
"""Tokens: fewer slow down matrix products; more no longer speed them up."""
PROBE = SIZES
"""Tokens of the shorter probe: a size that is not filled up."""


class Limits(NamedTuple):
    """Tokens: how many rows together may have in a pass, and how many a row without recomputation."""

    together: int
    kept: int


def pass_limits(module: LossModule) -> Limits:
    """Return the limits of a pass on a CPU."""
    per_token = max((activation_bytes(module, 2 * PROBE) - activation_bytes(module, PROBE)) / PROBE, 1)
    return Limits(int(min(MOST, max(LEAST, ACTIVATION_BYTES // per_token))), int(KEPT_BYTES // per_token))


def activation_bytes(module: LossModule, tokens: int) -> int:
    """Return what a forward pass over a row of this length keeps for the backward pass, weights apart."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.zeros(1, tokens, dtype=torch.long)
    labels = torch.where(torch.arange(tokens) < tokens - 1, 0, IGNORED)[None]
    positions = torch.arange(tokens)[None]
    segments = Segments.of(torch.tensor([0, tokens]), ids.device)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        module(ids, positions, labels, torch.ones(1, tokens), segments)
    return sum(kept.values())
