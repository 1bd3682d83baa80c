"""What is Muon? Momentum with every matrix orthogonalised before it updates the weights.

The update of torch.optim.Muon with adjust_lr_fn="match_rms_adamw" (K. Jordan and others, 2024; the scale is that of J.
Liu and others, 2025, arXiv:2502.16982), with matrices of equal shape computed together: in a small model the iteration
consists of many tiny products that cost more to launch than to compute.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.775, 2.0315)
ITERATIONS = 5
_RMS = 0.2  # the RMS of AdamW's updates


class Muon(torch.optim.Optimizer):
    """Updates matrices, (rows, columns); its state uses torch's names."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float, momentum: float) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update all parameters that have a gradient."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape].append(parameter)
            for parameters in alike.values():
                self._move(parameters, group)

    def _move(self, parameters: Sequence[nn.Parameter], group: dict[str, Any]) -> None:
        """Update matrices of one shape."""
        lr, momentum = group["lr"], group["momentum"]
        updates = orthogonalize(torch.stack([self._nesterov_gradient(parameter, momentum) for parameter in parameters]))
        scale = _RMS * math.sqrt(max(parameters[0].shape))
        for parameter, update in zip(parameters, updates, strict=True):
            parameter.mul_(1 - lr * group["weight_decay"]).add_(update, alpha=-lr * scale)

    def _nesterov_gradient(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """Return a parameter's gradient with Nesterov momentum."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter.grad)
        buffer: Tensor = state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(buffer, momentum)


def orthogonalize(matrices: Tensor) -> Tensor:
    """Return matrices with singular values near 1, by the quintic Newton-Schulz iteration; (number, rows, columns).

    It computes in bfloat16, like torch's.
    """
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)
