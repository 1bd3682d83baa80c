"""How is the loss of tokens computed without holding all logits? In chunks, with gradients in the forward pass.

At 16k tokens and a vocabulary of 151,936, one float32 copy of the logits takes 10 GB. Here only tokens with a loss
reach the output layer, `chunk` of them at a time, and the backward pass needs only d numbers per token.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from alfworld_sft.models.products import fast_products
from alfworld_sft.train.data.pack import IGNORED
from alfworld_sft.train.model.objectives import Likelihood, Objective

LIKELIHOOD = Likelihood()


class TokenLoss(NamedTuple):
    """The losses of a batch's tokens; only `loss`, Σ weight·objective, has a gradient.

    `nll`, `correct` (the most probable token is the label) and `entropy` (in nats, if asked for) have the labels' shape
    and are 0 for ignored labels. `nll` is the plain one, whatever the objective.
    """

    loss: Tensor  # ()
    nll: Tensor  # (...,) float32
    correct: Tensor  # (...,) bool
    entropy: Tensor | None = None  # (...,) float32


def weighted_loss(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    weights: Tensor,
    *,
    objective: Objective = LIKELIHOOD,
    entropy: bool = False,
    chunk: int = 1024,
    scale: float = 1.0,
) -> TokenLoss:
    """Return the weighted loss of the labels under softmax(scale · hidden · weightᵀ).

    hidden (..., d), weight (V, d) in any dtype, labels (...) with IGNORED for none, weights (...). The logits are
    multiplied in hidden's dtype and normalised in at least float32. Gradients reach hidden and weight.
    """
    wanted = (labels != IGNORED).flatten().nonzero().squeeze(1)  # (n,)
    loss, *figures = _ChunkedLoss.apply(
        hidden.flatten(0, -2)[wanted],  # (n, d)
        weight,
        labels.flatten()[wanted],
        weights.flatten()[wanted],
        wanted,
        objective,
        entropy,
        chunk,
        scale,
    )

    def spread(values: Tensor) -> Tensor:
        every = torch.zeros(labels.numel(), dtype=values.dtype, device=values.device)
        return every.index_copy(0, wanted, values).view(labels.shape)

    nll, correct, entropies = figures
    return TokenLoss(loss, spread(nll), spread(correct), spread(entropies) if entropy else None)


class _ChunkedLoss(torch.autograd.Function):
    """(n, d), (V, d), (n,), (n,), (n,) → loss (), nll (n,), correct (n,), entropy (n,) or (0,)."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        labels: Tensor,
        weights: Tensor,
        tokens: Tensor,
        objective: Objective,
        wants_entropy: bool,
        chunk: int,
        scale: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        head = _Head(hidden, weight, labels, chunk, scale)
        gradients = _Gradients(head, *ctx.needs_input_grad[:2])
        logprob = hidden.new_empty(len(labels), dtype=head.exact)
        losses, slopes = torch.empty_like(logprob), torch.empty_like(logprob)
        correct = torch.empty(len(labels), dtype=torch.bool, device=hidden.device)
        entropy = torch.empty_like(logprob) if wants_entropy else logprob.new_empty(0)
        with torch.autocast(hidden.device.type, enabled=False), fast_products(hidden.device):
            if objective.joint:
                for part, logits in head.chunks():
                    logprob[part] = head.logprob(part, logits, logits.logsumexp(1, keepdim=True))
                losses, slopes = objective(logprob, tokens)
            for part, logits in head.chunks():
                correct[part] = logits.argmax(1).eq(labels[part])
                norm = logits.logsumexp(1, keepdim=True)
                if not objective.joint:
                    logprob[part] = head.logprob(part, logits, norm)
                    losses[part], slopes[part] = objective(logprob[part], tokens[part])
                if not (gradients.wanted or wants_entropy):
                    continue
                probabilities = logits.sub_(norm).exp_()  # reusing the logits' memory
                if wants_entropy:
                    entropy[part] = torch.special.entr(probabilities).sum(1)
                if gradients.wanted:
                    gradients.add(part, probabilities, -weights[part] * slopes[part])
        ctx.save_for_backward(gradients.hidden, gradients.weight)
        ctx.dtypes = (hidden.dtype, weight.dtype)
        nll = -logprob
        ctx.mark_non_differentiable(nll, correct, entropy)
        return (losses * weights).sum(), nll, correct, entropy

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        grads = [
            None if grad is None else (grad * grad_loss).to(dtype)
            for grad, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return (*grads, None, None, None, None, None, None, None)


class _Head:
    """The output layer over some tokens, a chunk at a time."""

    def __init__(self, hidden: Tensor, weight: Tensor, labels: Tensor, chunk: int, scale: float) -> None:
        self.hidden, self.labels, self.chunk, self.scale = hidden, labels, chunk, scale
        self.exact = torch.promote_types(hidden.dtype, torch.float32)
        self.output = weight.to(hidden.dtype)  # (V, d)

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield each chunk's positions and its logits (chunk, V), which may be overwritten."""
        for start in range(0, len(self.labels), self.chunk):
            part = slice(start, start + self.chunk)
            logits = functional.linear(self.hidden[part], self.output).to(self.exact)
            yield part, logits * self.scale if self.scale != 1 else logits

    def logprob(self, part: slice, logits: Tensor, norm: Tensor) -> Tensor:
        """Return the log-probabilities of a chunk's labels; `norm` (chunk, 1) is the logits' logsumexp."""
        return (logits.gather(1, self.labels[part, None]) - norm).squeeze(1)


class _Gradients:
    """The gradients of the weighted loss, summed over chunks; None for those that are not wanted."""

    def __init__(self, head: _Head, wants_hidden: bool, wants_weight: bool) -> None:
        self.head, self.wanted = head, wants_hidden or wants_weight
        self.hidden = torch.empty_like(head.hidden) if wants_hidden else None
        self.weight = torch.zeros_like(head.output, dtype=head.exact) if wants_weight else None

    def add(self, part: slice, probabilities: Tensor, factor: Tensor) -> None:
        """Add a chunk; its probabilities (chunk, V) are overwritten. `factor` (chunk,) is -∂loss/∂logprob."""
        head, hidden = self.head, self.head.hidden[part]
        label = head.labels[part, None]
        grad = probabilities.scatter_add_(1, label, torch.full_like(label, -1, dtype=head.exact))
        grad *= factor[:, None] if head.scale == 1 else factor[:, None] * head.scale
        small = grad.to(hidden.dtype)
        if self.hidden is not None:
            self.hidden[part] = small @ head.output
        if self.weight is not None and small.dtype == head.exact:
            self.weight.addmm_(small.T, hidden)
        elif self.weight is not None:
            self.weight += small.T @ hidden
