"""What is a training sequence? Token ids, the weight of predicting each, and branches that leave the sequence.

A branch continues the first tokens of the trunk differently, as a teacher's answer does where the conversation has what
the policy said. One pass over the trunk and its branches has the gradient of a pass over each branch with all that
precedes it, since what precedes does not depend on what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ALONE = 0
"""The number of tokens for `split` that makes a sequence of every branch."""

OVER = 1.5
"""How much longer a piece may be than the longest sequence in it that has too many tokens anyway."""


class Branch(NamedTuple):
    """`length` tokens that attend to the first `start` tokens of the trunk and to themselves.

    The first of them repeats the trunk's token `start` and has no weight: it predicts the branch's own next one.
    """

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One sequence, or a trunk and its branches end to end.

    `weight[t]` applies to the loss of predicting token t; 0 for untrained tokens.
    """

    ids: NDArray[np.int32]  # (tokens,)
    weight: NDArray[np.float32]  # (tokens,)
    kind: NDArray[np.uint8]  # (tokens,) TokenKind
    rows: int
    truncated: bool
    key: str
    branches: tuple[Branch, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def trunk(self) -> int:
        """The number of tokens that are in no branch."""
        return len(self.ids) - sum(branch.length for branch in self.branches)

    @property
    def longest(self) -> int:
        """The tokens of its longest sequence: the trunk, or a branch with what precedes it."""
        return max([self.trunk, *(branch.start + branch.length for branch in self.branches)])

    @property
    def positions(self) -> NDArray[np.int64]:
        """The position of each token in its own sequence, (tokens,)."""
        return np.concatenate([np.arange(self.trunk), *(np.arange(s, s + length) for s, length in self.branches)])


class Leaf(NamedTuple):
    """A complete sequence that leaves a trunk, and its first token that is not to be taken from the trunk."""

    sample: Sample
    departs_at: int


def join(trunk: Sample, leaves: Sequence[Leaf]) -> Sample:
    """Return the trunk with a branch for each leaf; each leaf must share its first token with the trunk.

    What a leaf weighs before it departs is added to the trunk's weight. Tokens at the trunk's end that carry no loss
    and precede no branch are left out.
    """
    weight = trunk.weight.copy()
    tails: list[Sample] = []
    branches: list[Branch] = []
    for sample, departs_at in leaves:
        shared = min(_common(trunk, sample), departs_at)
        weight[:shared] += sample.weight[:shared]
        if sample.weight[shared:].any():
            start = shared - 1
            tail = _slice(sample, start, len(sample))
            tail.weight[0] = 0.0
            tails.append(tail)
            branches.append(Branch(start, len(tail)))
    trained = np.flatnonzero(weight)
    kept = max([int(trained[-1]) + 1 if len(trained) else 1, *(branch.start for branch in branches)])
    parts = [_slice(replace(trunk, weight=weight), 0, kept), *tails]
    return _concatenate(parts, trunk, tuple(branches))


def split(sample: Sample, most_tokens: int) -> list[Sample]:
    """Return the sample in pieces of at most so many tokens, as far as its branches allow; their losses sum to its own.

    A branch that is left alone becomes a complete sequence without branches. Samples without branches are never split,
    and where one sequence alone has more tokens a piece may have OVER times its number: each piece reads the trunk
    anew, so that small ones would cost a multiple and save little.
    """
    if most_tokens != ALONE and sample.longest > most_tokens:
        most_tokens = int(OVER * sample.longest)
    if len(sample) <= most_tokens or not sample.branches:
        return [sample]
    trunk = replace(_slice(sample, 0, sample.trunk), branches=())
    groups: list[list[tuple[Branch, Sample]]] = []
    for start, branch in sorted(_tails(sample), key=lambda one: one[0].start):
        last = groups[-1] if groups else []
        if last and start.start + sum(b.length for b, _ in last) + start.length <= most_tokens:
            last.append((start, branch))
        else:
            groups.append([(start, branch)])
    pieces = [_piece(trunk, group) for group in groups]
    return [trunk, *pieces] if trunk.weight.any() else pieces


def _piece(trunk: Sample, group: Sequence[tuple[Branch, Sample]]) -> Sample:
    """Return some branches after the part of the trunk that they need, which carries no loss here."""
    needed = max(branch.start for branch, _ in group)
    before = _slice(trunk, 0, needed)
    before.weight[:] = 0.0
    branches = () if len(group) == 1 else tuple(branch for branch, _ in group)
    return _concatenate([before, *(tail for _, tail in group)], trunk, branches)


def _tails(sample: Sample) -> list[tuple[Branch, Sample]]:
    """Return the branches with their tokens."""
    ends = sample.trunk + np.cumsum([branch.length for branch in sample.branches])
    return [
        (branch, _slice(sample, int(end) - branch.length, int(end)))
        for branch, end in zip(sample.branches, ends, strict=True)
    ]


def _common(one: Sample, other: Sample) -> int:
    """Return how many tokens two samples have in common from the start."""
    length = min(len(one), len(other))
    differing = np.flatnonzero(one.ids[:length] != other.ids[:length])
    return int(differing[0]) if len(differing) else length


def _slice(sample: Sample, first: int, last: int) -> Sample:
    """Return a range of tokens; the weights are a copy."""
    return replace(
        sample,
        ids=sample.ids[first:last],
        weight=sample.weight[first:last].copy(),
        kind=sample.kind[first:last],
        branches=(),
    )


def _concatenate(parts: Sequence[Sample], like: Sample, branches: tuple[Branch, ...]) -> Sample:
    return replace(
        like,
        ids=np.concatenate([part.ids for part in parts]),
        weight=np.concatenate([part.weight for part in parts]),
        kind=np.concatenate([part.kind for part in parts]),
        branches=branches,
    )
