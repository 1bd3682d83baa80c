"""How is weighted cross-entropy computed without holding all logits? In chunks, with gradients in the forward pass.

At 16k tokens and a vocabulary of 151,936, one float32 copy of the logits takes 10 GB. Here only tokens with a loss
reach the output layer, `chunk` of them at a time, and the backward pass needs only d numbers per token.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from alfworld_sft.train.data.pack import IGNORED
from alfworld_sft.train.model.on_cpu import fast_products


class TokenLoss(NamedTuple):
    """The losses of a batch's tokens; only `loss`, Σ weight·nll, has a gradient.

    `nll` and `correct` (the most probable token is the label) have the labels' shape and are 0 for ignored labels.
    """

    loss: Tensor  # ()
    nll: Tensor  # (...,) float32
    correct: Tensor  # (...,) bool


def weighted_cross_entropy(
    hidden: Tensor, weight: Tensor, labels: Tensor, weights: Tensor, *, chunk: int = 1024, scale: float = 1.0
) -> TokenLoss:
    """Return the weighted loss of the labels under softmax(scale · hidden · weightᵀ).

    hidden (..., d), weight (V, d) in any dtype, labels (...) with IGNORED for none, weights (...). The logits are
    multiplied in hidden's dtype and normalised in at least float32. Gradients reach hidden and weight.
    """
    wanted = (labels != IGNORED).flatten().nonzero().squeeze(1)  # (n,)
    loss, nll, correct = _ChunkedLoss.apply(
        hidden.flatten(0, -2)[wanted],  # (n, d)
        weight,
        labels.flatten()[wanted],
        weights.flatten()[wanted],
        chunk,
        scale,
    )
    every = torch.zeros(labels.numel(), dtype=nll.dtype, device=nll.device)
    hits = torch.zeros(labels.numel(), dtype=torch.bool, device=nll.device)
    return TokenLoss(
        loss,
        every.index_copy(0, wanted, nll).view(labels.shape),
        hits.index_copy(0, wanted, correct).view(labels.shape),
    )


class _ChunkedLoss(torch.autograd.Function):
    """(n, d), (V, d), (n,), (n,) → loss (), nll (n,), correct (n,)."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, weights: Tensor, chunk: int, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        exact = torch.promote_types(hidden.dtype, torch.float32)
        output = weight.to(hidden.dtype)  # (V, d)
        nll = torch.empty(len(labels), dtype=exact, device=hidden.device)
        correct = torch.empty(len(labels), dtype=torch.bool, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if wants_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=exact) if wants_weight else None
        with torch.autocast(hidden.device.type, enabled=False), fast_products():
            for start in range(0, len(labels), chunk):
                part = slice(start, start + chunk)
                label = labels[part, None]
                logits = functional.linear(hidden[part], output).to(exact)  # (chunk, V)
                if scale != 1:
                    logits = logits * scale
                correct[part] = logits.argmax(1, keepdim=True).eq(label).squeeze(1)
                norm = logits.logsumexp(1, keepdim=True)
                nll[part] = (norm - logits.gather(1, label)).squeeze(1)
                if not (wants_hidden or wants_weight):
                    continue
                grad = logits.sub_(norm).exp_()  # softmax, reusing the logits' memory
                grad.scatter_add_(1, label, torch.full_like(label, -1, dtype=exact))
                grad *= weights[part, None] if scale == 1 else weights[part, None] * scale
                small = grad.to(hidden.dtype)
                if grad_hidden is not None:
                    grad_hidden[part] = small @ output
                if grad_weight is not None and small.dtype == exact:
                    grad_weight.addmm_(small.T, hidden[part])
                elif grad_weight is not None:
                    grad_weight += small.T @ hidden[part]
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.dtypes = (hidden.dtype, weight.dtype)
        ctx.mark_non_differentiable(nll, correct)
        return (nll * weights).sum(), nll, correct

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        grads = [
            None if grad is None else (grad * grad_loss).to(dtype)
            for grad, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return (*grads, None, None, None, None)
