"""Which architectures have plain attention, so that ours may take its place?"""

from __future__ import annotations

from typing import Any

from alfworld_sft.models.load import context_of

PLAIN_FAMILIES = frozenset({"llama", "mistral", "olmo2", "phi3", "qwen2", "qwen3", "smollm3", "granite"})
"""Architectures with plain attention (causal, without sinks or soft caps) and plain RMS norms."""


def attends_plainly(config: Any, longest: int | None = None) -> bool:
    """Return whether a model's tokens see all before them in rows of `longest` tokens, None for the whole context."""
    layer_types = getattr(config, "layer_types", None)  # if missing, a window applies to every layer
    windowed = layer_types is None or "sliding_attention" in layer_types
    window = getattr(config, "sliding_window", None) if windowed else None
    return config.model_type in PLAIN_FAMILIES and (window is None or window >= (longest or context_of(config)))
