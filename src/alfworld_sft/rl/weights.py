"""How much does each token count in a policy update? One weight per sequence, for all of its sampled tokens.

The loss of an update is Σ weight·loss over all tokens of the batch, so it does not depend on how the batch is divided
into micro-batches and processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

LossType = Literal["dapo", "dr_grpo", "grpo"]
"""TRL's names. dapo: the mean over all tokens of the batch (verl's token-mean); dr_grpo: the sum over tokens divided by
a constant; grpo: the mean over sequences of each sequence's mean over tokens."""


def token_weights(
    lengths: Sequence[int], loss_type: LossType, max_tokens: int, played: int | None = None
) -> NDArray[np.float64]:
    """Return the weight of each sequence's tokens, (sequences,); `lengths` counts the sampled tokens of each.

    dapo: 1/Σ lengths (Yu et al. 2025, arXiv 2503.14476, eq. 8); grpo: 1/(sequences·length) (Shao et al. 2024, arXiv
    2402.03300, eq. 3); dr_grpo: 1/(played·max_tokens) (Liu et al. 2025, arXiv 2503.20783), where `max_tokens` is the
    largest number of tokens that a sequence may have, and `played` counts those that were played, trained or not; by
    default these are all. A sequence without tokens counts as a sequence.
    """
    counts = np.asarray(lengths, dtype=np.float64)
    if loss_type == "dapo":
        return np.full(len(counts), 1 / max(counts.sum(), 1.0))
    if loss_type == "dr_grpo":
        return np.full(len(counts), 1 / (max(played or len(counts), 1) * max_tokens))
    return 1 / (len(counts) * np.maximum(counts, 1.0))
