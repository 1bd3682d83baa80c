"""What does a token's loss depend on? Its log-probability: likelihood, and two objectives that curb improbable tokens.

An objective maps log-probabilities of the labels to losses and their slopes; `loss.weighted_loss` turns the slopes into
gradients. A slope is the derivative of its loss, unless the loss holds a factor constant, which is stated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from alfworld_sft.train.config import LossSection


class Objective(Protocol):
    """A loss per token as a function of the log-probabilities of the labels."""

    @property
    def joint(self) -> bool:
        """Whether a token's loss depends on other tokens' log-probabilities; the output layer is then applied twice."""
        ...

    def __call__(self, logprob: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return each token's loss and its derivative with respect to the token's log-probability, both (n,).

        `logprob` (n,) has no gradient; `tokens` (n,) are the tokens' positions in the flattened labels. A joint
        objective is called once with all tokens, and its derivative is that of Σ weight·loss divided by the weight.
        """
        ...


@dataclass(frozen=True, slots=True)
class Likelihood:
    """-log p: plain supervised fine-tuning."""

    joint: ClassVar[bool] = False

    def __call__(self, logprob: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return -log p and its slope, -1."""
        return -logprob, torch.full_like(logprob, -1)


@dataclass(frozen=True, slots=True)
class DynamicFineTuning:
    """-p·log p with p held constant (DFT; Wu et al. 2025, arXiv 2508.05629, eq. 9); TRL's `loss_type="dft"`.

    The gradient of the likelihood is weighted by p: tokens that the model finds improbable hardly change it.
    """

    joint: ClassVar[bool] = False

    def __call__(self, logprob: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return -p·log p and its slope, -p."""
        p = logprob.exp()
        return -p * logprob, -p


@dataclass(frozen=True, slots=True)
class ClippedLikelihood:
    """-log p where p ≥ `threshold` = c, else its tangent in p at c, 1 - p/c - log c.

    The slope is -min(1, p/c): the gradient is that of p divided by max(p, c), as in the trust-region SFT of Su et al.
    2025 (TrSFT, arXiv 2512.17636), whose code has c = 0.1. The aim is that of OPC-SFT ("Clipping Low-Probability Tokens
    in SFT Yields a Generalizable Initialization for RL", ICML 2026): improbable tokens do not dominate an update.
    """

    threshold: float
    joint: ClassVar[bool] = False

    def __call__(self, logprob: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and its slope."""
        share = logprob.exp() / self.threshold
        log_threshold = torch.tensor(self.threshold, dtype=logprob.dtype, device=logprob.device).log()
        return torch.where(share < 1, 1 - share - log_threshold, -logprob), -share.clamp(max=1)


def make_objective(loss: LossSection) -> Objective:
    """Return the objective that a training config names."""
    if loss.kind == "dft":
        return DynamicFineTuning()
    return ClippedLikelihood(loss.clip_below) if loss.kind == "clip" else Likelihood()
