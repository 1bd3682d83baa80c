"""Which rows does each step train on? The order of every epoch, its batches, and each process's share of a batch.

Everything follows from the seed and the position, so a resumed run sees the same batches as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from alfworld_sft.train.checkpoint import Position
from alfworld_sft.train.data.pack import Packed, pack
from alfworld_sft.train.data.sample import ALONE, Sample, split


@dataclass(frozen=True, slots=True)
class Batch:
    """One optimizer step's samples, by index, and the progress after it; `epochs` has a fraction."""

    indices: list[int]
    after: Position
    epochs: float


class BatchSchedule:
    """The steps of a run over samples; sample i stands for `rows[i]` dataset rows.

    `steps`, if given, sets the length of the run, over as many epochs as needed; otherwise `epochs` does.
    """

    def __init__(self, rows: Sequence[int], batch_size: int, seed: int, *, epochs: int, steps: int | None) -> None:
        self._rows, self._batch_size, self._seed, self._steps = rows, batch_size, seed, steps
        self._epochs = epochs
        self.total = steps or sum(len(self.epoch(number)) for number in range(epochs))

    def epoch(self, number: int) -> list[list[int]]:
        """Return the batches of an epoch, counted from 0."""
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + number)
        order = torch.randperm(len(self._rows), generator=generator).tolist()
        return global_batches(self._rows, order, self._batch_size)

    def batches(self, start: Position) -> Iterator[Batch]:
        """Yield the batches after a position."""
        step, epoch, done = start.step, start.epoch, start.batch
        while step < self.total:
            batches = self.epoch(epoch)
            for number in range(done, len(batches)):
                step += 1
                last = number + 1 == len(batches)
                after = Position(step, epoch + 1, 0) if last else Position(step, epoch, number + 1)
                yield Batch(batches[number], after, epoch + (number + 1) / len(batches))
                if step == self.total:
                    return
            epoch, done = epoch + 1, 0


def share_out(lengths: Sequence[int], processes: int) -> list[list[int]]:
    """Distribute items so that every process gets about as many tokens, longest first; return positions."""
    shares: list[list[int]] = [[] for _ in range(processes)]
    loads = [0] * processes
    for item in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        least = loads.index(min(loads))
        shares[least].append(item)
        loads[least] += lengths[item]
    return [sorted(share) for share in shares]


def micro_batches(
    samples: Sequence[Sample], rank: int, world: int, token_budget: int, *, branches: bool = True
) -> list[Packed]:
    """Return a process's share of a batch, packed; all processes get the same number, padded with weightless ones.

    A sample whose branches are too many for one micro-batch is split. `branches` says whether the model's attention
    knows them; otherwise each becomes a sequence of its own.
    """
    pieces = [piece for sample in samples for piece in split(sample, token_budget if branches else ALONE)]
    shares = share_out([len(piece) for piece in pieces], world)
    packed = [pack([pieces[i] for i in share], token_budget) if share else [] for share in shares]
    mine = packed[rank]
    missing = max(map(len, packed)) - len(mine)
    return [*mine, *[_make_filler(pieces, token_budget)] * missing]


def total_weight(samples: Sequence[Sample]) -> float:
    """Return the sum of the weights of all predicted tokens; a sequence's first token is not predicted."""
    return float(sum(sample.weight[1:].sum(dtype=np.float64) for sample in samples))


def lengths_of(samples: Sequence[Sample]) -> list[int]:
    """Return the length of each sample."""
    return [len(sample.ids) for sample in samples]


def fingerprint(samples: Sequence[Sample]) -> str:
    """Return a hash of all tokens and weights: equal for equal data, tokenizer and options."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(np.ascontiguousarray(sample.ids).tobytes() + np.ascontiguousarray(sample.weight).tobytes())
        digest.update(sample.rows.to_bytes(4, "little"))
        digest.update(repr(sample.branches).encode() if sample.branches else b"")
    return digest.hexdigest()


def _make_filler(samples: Sequence[Sample], token_budget: int) -> Packed:
    shortest = min(samples, key=lambda sample: len(sample.ids))
    filler = pack([shortest], token_budget)[0]
    return replace(filler, weights=torch.zeros_like(filler.weights))


def count_steps(rows: Sequence[int], train_batch_size: int) -> int:
    """Return the number of optimizer steps in an epoch over samples with these row counts, as if trained row by row."""
    return -(-sum(rows) // train_batch_size)


def global_batches(rows: Sequence[int], order: Sequence[int], train_batch_size: int) -> list[list[int]]:
    """Return the samples of each optimizer step; `rows[i]` is the number of dataset rows of sample i.

    Batches have about `train_batch_size` rows, the last one the remainder. There are `count_steps` batches in any
    order, unless a single sample has more rows than a batch: then there are fewer, since it cannot be divided.
    """
    steps = count_steps(rows, train_batch_size)
    batches: list[list[int]] = [[] for _ in range(steps)]
    before = 0
    for index in order:
        # A sample belongs to the step with its first row: no step is off by more than one sample.
        batches[before // train_batch_size].append(index)
        before += rows[index]
    for step in range(steps - 1, 0, -1):  # a long last sample began before the last step's rows: shift samples
        if batches[step]:
            break
        batches[step] = [batches[step - 1].pop()] if batches[step - 1] else []
    return [batch for batch in batches if batch]
