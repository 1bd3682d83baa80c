"""How does a model's name become a module that returns a loss? Loading, adapters, attention between packed sequences.

Every failure to get a model is a one-line ModelError. Weights are read from safetensors only, and no code from a
model's folder is run.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from alfworld_sft.models.families import PLAIN_FAMILIES
from alfworld_sft.models.load import ModelError, base_of, layers_of
from alfworld_sft.train.model.attention import PACKED, Segments, packed_attention, varlen_works
from alfworld_sft.train.model.loss import LIKELIHOOD, TokenLoss, weighted_loss
from alfworld_sft.train.model.objectives import Objective
from alfworld_sft.train.model.on_cpu import filler, plain_float32, rms_norm, speed_up


class LossModule(nn.Module):
    """A causal language model with the loss of a micro-batch as its output, without storing all logits.

    The loss is that of sampling at a temperature: of softmax(logits / temperature).
    """

    def __init__(self, model: Any, *, autocast: torch.dtype | None = None, temperature: float = 1.0) -> None:
        super().__init__()
        self.model = model
        self.autocast = autocast
        base = base_of(model)
        head = base.get_output_embeddings()
        if getattr(head, "bias", None) is not None or not isinstance(head, nn.Linear):
            raise ModelError(f"{type(base).__name__}: its output layer is not a plain matrix")
        self.packed = base.config._attn_implementation == PACKED
        self.logit_scale = _logit_scale(base.config) / temperature
        self._most_kept = math.inf
        self._switched: list[nn.Module] = []

    def recompute_over(self, tokens: int) -> None:
        """Recompute the activations of passes over more tokens, as far as the model can; it changes no result."""
        base = base_of(self.model)
        if base.supports_gradient_checkpointing:
            _recompute(base)
            self._switched = [part for part in base.modules() if getattr(part, "gradient_checkpointing", False)]
            self._most_kept = tokens

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        labels: Tensor,
        weights: Tensor,
        segments: Segments,
        objective: Objective = LIKELIHOOD,
        entropy: bool = False,
    ) -> TokenLoss:
        """Return Σ weight·objective, and figures of each token, (1, tokens).

        The tensors have shape (1, tokens); `labels` are already shifted, and -100 for none.
        """
        base = base_of(self.model)
        tokens = input_ids.shape[1]
        for part in self._switched:
            part.gradient_checkpointing = tokens > self._most_kept
        more = filler(tokens, input_ids.device) if self.packed else 0
        if more:
            input_ids, position_ids = (nn.functional.pad(x, (0, more)) for x in (input_ids, position_ids))
            segments = segments.and_one_of(more)
        extra: dict[str, Any] = {"segments": segments} if self.packed else {}
        device_type = input_ids.device.type
        with torch.autocast(device_type, self.autocast or torch.bfloat16, enabled=self.autocast is not None):
            hidden = base.model(input_ids=input_ids, position_ids=position_ids, use_cache=False, **extra)[0]
            return weighted_loss(
                hidden[:, :tokens],
                base.get_output_embeddings().weight,
                labels,
                weights,
                objective=objective,
                entropy=entropy,
                scale=self.logit_scale,
            )


def _logit_scale(config: Any) -> float:
    """Return a model's factor on its logits, under any of the names that architectures use for it."""
    scale = (getattr(config, "logit_scale", None) or 1.0) * (getattr(config, "lm_head_multiplier", None) or 1.0)
    return float(scale / (getattr(config, "logits_scaling", None) or 1.0))


def prepare(model: Any, *, gradient_checkpointing: bool, compile_layers: bool) -> None:
    """Prepare a model for training, in place; see `compile_each_layer` for doing that later."""
    model.train()
    device = next(model.parameters()).device
    if base_of(model).config.model_type in PLAIN_FAMILIES:
        if device.type == "cpu":
            speed_up(base_of(model))
        for module in base_of(model).modules():
            if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
                module.forward = partial(_rms_norm, module)
    base_of(model).config.use_cache = False
    if gradient_checkpointing:
        _recompute(base_of(model))
    if device.type == "cuda":
        varlen_works(device)  # decide before anything is compiled
    if compile_layers:
        compile_each_layer(model)


def _recompute(base: Any) -> None:
    enable = getattr(base, "activation_checkpointing_enable", None) or base.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def compile_each_layer(model: Any) -> None:
    """Make every layer compile on first use, in place."""
    for layer in layers_of(model):
        layer.compile()


def _rms_norm(norm: Any, hidden: Tensor) -> Tensor:
    """Return weight · hidden/rms(hidden) in hidden's dtype, in one kernel; autocast would make it float32."""
    if plain_float32(hidden, norm.weight):
        return rms_norm(hidden, norm.weight, norm.variance_epsilon)
    with torch.autocast(hidden.device.type, enabled=False):
        return nn.functional.rms_norm(hidden, norm.weight.shape, norm.weight.to(hidden.dtype), norm.variance_epsilon)


AttentionInterface.register(PACKED, packed_attention)
