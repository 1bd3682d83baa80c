"""What does a training run call between its steps? Hooks, at its test steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from alfworld_sft.train.distributed import Ranks


@dataclass(frozen=True, slots=True)
class Moment:
    """The state passed to a hook at a test step; every process calls the hook."""

    step: int
    model: Any
    tokenizer: Any
    ranks: Ranks


Hook = Callable[[Moment], Mapping[str, float]]
"""Measures a model at a test step, and returns figures for the log."""
