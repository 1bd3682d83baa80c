"""Which values may an option of training have? For the configs, and for modules that need torch, which these do not."""

from __future__ import annotations

from typing import Literal

DeviceChoice = Literal["auto", "cpu", "cuda"]
"""auto: the GPU if there is one, else the CPU."""
AttentionChoice = Literal["auto", "packed", "sdpa"]
OptimizerName = Literal["adamw", "muon"]
Schedule = Literal["cosine", "linear", "constant"]
"""How the learning rate falls."""
Strategy = Literal["ddp", "fsdp2"]
Weighting = Literal["uniform", "cumulative"]
"""uniform: a turn counts once, in the shortest row that trains it; cumulative: once in every row that trains it."""
RatioLevel = Literal["token", "sequence"]
"""Whether each token of a sampled sequence has an importance ratio of its own."""
Architecture = Literal["qwen2", "qwen3"]
TokenizerKind = Literal["word", "bpe"]
ChatFormat = Literal["chatml", "short"]
