"""Which samples form an optimizer step, and how are they laid out in memory? Samples → batches.

Steps are filled by rows, so folding changes neither the number of steps nor the learning-rate schedule. Within a step
the samples are packed end to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alfworld_sft.train.data.sample import Sample

IGNORED = -100
"""The label of a token without loss."""


@dataclass(frozen=True, slots=True)
class Packed:
    """One micro-batch. `labels[0, t]` is token t + 1 of the same sample, or IGNORED, with its `weights` and `kinds`.

    `position_ids` restart at every sample; with use_cache=False and no attention mask, samples do not attend to each
    other. `cu_seqlens` are the boundaries of the sequences: samples, trunks and branches. `prefixes`, if any sample has
    branches, says for each sequence where the tokens that it continues begin, and how many they are (0 for none).
    """

    input_ids: torch.Tensor  # (1, tokens) int64
    position_ids: torch.Tensor  # (1, tokens) int64
    labels: torch.Tensor  # (1, tokens) int64
    weights: torch.Tensor  # (1, tokens) float32
    kinds: torch.Tensor  # (1, tokens) uint8
    cu_seqlens: torch.Tensor  # (sequences + 1,) int32
    tokens: int
    samples: tuple[Sample, ...]
    prefixes: torch.Tensor | None = None  # (sequences, 2) int64

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Packed:
        """Return the batch on a device."""
        return Packed(
            input_ids=self.input_ids.to(device, non_blocking=non_blocking),
            position_ids=self.position_ids.to(device, non_blocking=non_blocking),
            labels=self.labels.to(device, non_blocking=non_blocking),
            weights=self.weights.to(device, non_blocking=non_blocking),
            kinds=self.kinds.to(device, non_blocking=non_blocking),
            cu_seqlens=self.cu_seqlens.to(device, non_blocking=non_blocking),
            tokens=self.tokens,
            samples=self.samples,
            prefixes=self.prefixes,
        )


def pack(samples: Sequence[Sample], token_budget: int) -> list[Packed]:
    """Return micro-batches of one row each, with at most `token_budget` tokens unless a single sample has more."""
    bins: list[list[Sample]] = []
    left: list[int] = []
    for sample in sorted(samples, key=len, reverse=True):  # first fit, longest first
        bin_index = next((index for index, free in enumerate(left) if free >= len(sample)), None)
        if bin_index is None:
            bins.append([])
            left.append(token_budget)
            bin_index = len(bins) - 1
        bins[bin_index].append(sample)
        left[bin_index] -= len(sample)
    return [_concatenate(group) for group in bins]


def _concatenate(samples: Sequence[Sample]) -> Packed:
    lengths: list[int] = []
    prefixes: list[tuple[int, int]] = []
    for sample in samples:
        begin = sum(lengths)
        lengths += [sample.trunk, *(branch.length for branch in sample.branches)]
        prefixes += [(begin, 0), *((begin, branch.start) for branch in sample.branches)]
    branching = any(sample.branches for sample in samples)
    return Packed(
        input_ids=_to_int64(np.concatenate([sample.ids for sample in samples])[None]),
        position_ids=_to_int64(np.concatenate([sample.positions for sample in samples])[None]),
        labels=_to_int64(np.concatenate([_labels(sample) for sample in samples])[None]),
        weights=torch.from_numpy(np.concatenate([shift(sample.weight) for sample in samples])[None]),
        kinds=torch.from_numpy(np.concatenate([shift(sample.kind) for sample in samples])[None]),
        cu_seqlens=torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32),
        tokens=sum(lengths),
        samples=tuple(samples),
        prefixes=torch.tensor(prefixes) if branching else None,
    )


def _labels(sample: Sample) -> NDArray[np.int64]:
    """Return for each token the next one as its label, or IGNORED without loss."""
    following = np.append(sample.ids[1:], 0).astype(np.int64)
    return np.where(shift(sample.weight) != 0, following, IGNORED)


def shift(values: NDArray[Any]) -> NDArray[Any]:
    """Return the next token's value at each position; 0 at the end."""
    return np.append(values[1:], values.dtype.type(0))


def _to_int64(values: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.int64))
