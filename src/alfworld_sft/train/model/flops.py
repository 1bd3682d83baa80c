"""How many floating-point operations does a training step need, and how many can a device do?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

PEAK_FLOPS = {
    "B200": 2250e12,
    "GH200": 989e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H20": 148e12,
    "A100": 312e12,
    "A800": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
    "MI300X": 1307e12,
}
"""Dense bfloat16 FLOP/s from the makers' data sheets; the first name contained in a device's name counts."""


def peak_flops(device: torch.device) -> float | None:
    """Return a device's peak, or None if unknown."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for known, peak in PEAK_FLOPS.items() if known in name), None)


class FlopCounter:
    """Counts the operations of a training step.

    Per weight and token: 2 FLOP forward, 2 for the gradient of the layer's input, and 2 for the weight's own if it is
    trained; plus causal attention. Recomputation counts once.
    """

    def __init__(self, model: nn.Module, config: Any) -> None:
        linear = {id(m.weight): m.weight for m in model.modules() if isinstance(m, nn.Linear)}
        used = sum(weight.numel() for weight in linear.values())
        trained = sum(weight.numel() for weight in linear.values() if weight.requires_grad)
        self.per_token = 4 * used + 2 * trained
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.per_token_pair = 6 * config.num_hidden_layers * config.num_attention_heads * head_dim

    def of(self, lengths: Sequence[int]) -> float:
        """Return the FLOP of training on sequences of these lengths."""
        return float(self.per_token * sum(lengths) + self.per_token_pair * sum(n * n for n in lengths))
