"""How does a model do on held-out data? Its loss by kind of token, and accuracy of complete actions by verb.

Token accuracy misleads: an action of five tokens with four right is wrong. An action counts as right if every one of
its tokens is the most probable one, given the true tokens before it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from alfworld_sft.models.loss_mask import TokenKind
from alfworld_sft.train.data.pack import Packed
from alfworld_sft.train.distributed import Ranks, shard_again
from alfworld_sft.train.model.attention import Segments

REPORTED_KINDS = {
    TokenKind.THINK: "think",
    TokenKind.PREDICTION: "prediction",
    TokenKind.ACTION: "action",
    TokenKind.OBSERVATION: "observation",
}
"""The kinds with a separate loss."""
MAX_VERBS = 12
"""Verbs shown separately, the most frequent first; a model's nonsense cannot fill the log, as the true verb counts."""


@dataclass
class ValidationSums:
    """Sums over validation data: weighted loss, loss and tokens by kind, and complete actions by verb."""

    loss: float = 0.0
    weight: float = 0.0
    nll: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    tokens: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)

    def add(self, other: ValidationSums) -> None:
        """Add the sums of another batch or process."""
        self.loss += other.loss
        self.weight += other.weight
        for kind, nll in other.nll.items():
            self.nll[kind] += nll
        self.tokens.update(other.tokens)
        self.right.update(other.right)
        self.actions.update(other.actions)

    def figures(self) -> dict[str, float]:
        """Return loss, loss by kind, and share of right actions in all and by verb; figures without data are absent."""
        found: dict[str, float] = {}
        if self.weight:
            found["val/loss"] = self.loss / self.weight
        for kind in REPORTED_KINDS.values():
            if self.tokens[kind]:
                found[f"val/loss_{kind}"] = self.nll[kind] / self.tokens[kind]
        if self.actions:
            found["val/action_accuracy"] = self.right.total() / self.actions.total()
            for verb, count in self.actions.most_common(MAX_VERBS):
                found[f"val/action_accuracy_{verb}"] = self.right[verb] / count
        return found


def validate(
    module: nn.Module, batches: Sequence[Packed], decode: Callable[[list[int]], str], ranks: Ranks
) -> dict[str, float]:
    """Return a model's figures on micro-batches, over all processes; the model is left in training mode.

    Every process passes its own share, all of equal number (FSDP2 computes in step), filled up with weightless ones.
    """
    sums = ValidationSums()
    module.eval()
    with torch.no_grad():
        for batch in batches:
            segments = Segments.of(batch.cu_seqlens, ranks.device, batch.prefixes)
            fields = (batch.input_ids, batch.position_ids, batch.labels, batch.weights)
            found = module(*(tensor.to(ranks.device) for tensor in fields), segments)
            sums.add(sum_batch(batch, found.nll.flatten().cpu(), found.correct.flatten().cpu(), decode))
    module.train()
    shard_again(module)
    total = ValidationSums()
    for part in ranks.gather(sums):
        total.add(part)
    return total.figures()


def sum_batch(batch: Packed, nll: Tensor, correct: Tensor, decode: Callable[[list[int]], str]) -> ValidationSums:
    """Count one micro-batch; `nll` and `correct` are (tokens,)."""
    labels, weights, kinds = batch.labels.flatten(), batch.weights.flatten(), batch.kinds.flatten()
    counted = (labels >= 0) & (weights > 0)
    sums = ValidationSums(
        float((nll.double() * weights.double())[counted].sum()), float(weights.double()[counted].sum())
    )
    for kind, name in REPORTED_KINDS.items():
        mine = counted & (kinds == int(kind))
        sums.nll[name] = float(nll.double()[mine].sum())
        sums.tokens[name] = int(mine.sum())
    for start, end in true_spans(counted & (kinds == int(TokenKind.ACTION))):
        verb = _verb(decode(labels[start:end].tolist()))
        sums.actions[verb] += 1
        sums.right[verb] += bool(correct[start:end].all())
    return sums


def true_spans(mask: Tensor) -> Iterator[tuple[int, int]]:
    """Yield start and end of each run of true values in (tokens,)."""
    outside = torch.zeros(1, dtype=torch.int8)
    edges = torch.diff(mask.to(torch.int8), prepend=outside, append=outside)
    yield from zip((edges == 1).nonzero()[:, 0].tolist(), (edges == -1).nonzero()[:, 0].tolist(), strict=True)


def _verb(action: str) -> str:
    """Return the first word; the first token may still contain the end of the tag before it, as in `>take`."""
    word = re.search(r"[A-Za-z]+", action)
    return word[0].lower() if word else "other"
