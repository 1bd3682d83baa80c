"""How are a layer's operations computed on a CPU: matrices at a core's full speed, the rest in few passes over memory?

A small model's step is limited by memory. What autograd composes of five kernels, each with a result of its own, is
written here with its derivative. All of it is float32 and equals the plain operations up to rounding.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import SiLUActivation

from alfworld_sft.models.products import fast_products, mkl_is_slow

SIZES = 64
"""A pass is filled up to a multiple of so many tokens (`filler`)."""


def speed_up(model: Any) -> None:
    """Replace the forward methods of plain linear layers and of gated feed-forward blocks, in place."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.forward = partial(_linear, module)
        elif isinstance(getattr(module, "act_fn", None), SiLUActivation | nn.SiLU) and hasattr(module, "gate_proj"):
            module.forward = partial(_feed_forward, module)


def filler(tokens: int, device: torch.device) -> int:
    """Return how many tokens to add to a pass, so that its matrices have one of few sizes.

    oneDNN compiles a product anew for every size, in 0.8 ms, and keeps the code of a thousand: measured with a million
    weights and 2,300 to 2,900 tokens a pass, a third of the time of the products, and 2 GB.
    """
    return -tokens % SIZES if device.type == "cpu" and mkl_is_slow() else 0


def plain_float32(*tensors: Tensor | None) -> bool:
    """Return whether these are float32 on the CPU, and computed in float32."""
    known = [tensor for tensor in tensors if tensor is not None]
    return all(x.dtype == torch.float32 and x.device.type == "cpu" for x in known) and not (
        torch.is_autocast_enabled("cpu")
    )


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Return weight · x/rms(x) for float32 x (..., d) and weight (d,)."""
    out: Tensor = _RmsNorm.apply(x, weight, epsilon)
    return out


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    if not plain_float32(x, layer.weight):
        return functional.linear(x, layer.weight, layer.bias)
    out: Tensor = _Linear.apply(x, layer.weight, layer.bias)
    return out


def _feed_forward(block: Any, x: Tensor) -> Tensor:
    """Return down(silu(gate(x)) · up(x))."""
    gate, up = block.gate_proj(x), block.up_proj(x)
    inner = _Gated.apply(gate, up) if plain_float32(gate, up) else block.act_fn(gate) * up
    out: Tensor = block.down_proj(inner)
    return out


class _Linear(torch.autograd.Function):
    """(..., in), (out, in), (out,) or None → (..., out); no product is computed for a factor that is not trained."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        wants_x, wants_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if wants_weight else None, weight if wants_x else None)
        with fast_products(x.device):
            return functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        flat = grad.flatten(0, -2)
        with fast_products(grad.device):
            grad_x = None if weight is None else (flat @ weight).view(*grad.shape[:-1], -1)
            grad_weight = None if x is None else flat.T @ x.flatten(0, -2)
        return grad_x, grad_weight, flat.sum(0) if ctx.needs_input_grad[2] else None


class _RmsNorm(torch.autograd.Function):
    """(..., d), (d,), epsilon → (..., d)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = (size.square_() / x.shape[-1]).add_(epsilon).rsqrt_()  # (..., 1)
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        wants_x, wants_weight, _ = ctx.needs_input_grad
        normed = x * scale
        product = grad * normed  # its sum over rows is the weight's gradient; weighed, over columns, x's projection
        grad_weight = product.flatten(0, -2).sum(0) if wants_weight else None
        if not wants_x:
            return None, grad_weight, None
        projection = (product @ weight).unsqueeze(-1) / -x.shape[-1]  # (..., 1)
        return (grad * weight).addcmul_(normed, projection).mul_(scale), grad_weight, None


class _Gated(torch.autograd.Function):
    """(..., d), (..., d) → silu(gate) · up, (..., d)."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        grad_gate = torch.ops.aten.silu_backward(grad * up, gate)
        return grad_gate, functional.silu(gate).mul_(grad)
