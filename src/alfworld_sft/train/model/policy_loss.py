"""What is the loss of a reinforcement-learning update? The clipped policy-gradient loss, with a KL penalty if wanted.

For a token with log-probability `l` now, `l_old` when it was sampled and `l_ref` under the reference, and advantage A:

    r = exp(l - l_old)
    loss = -min(r·A, clip(r, 1 - clip_low, 1 + clip_high)·A) + beta·r·k3    (PPO; Schulman et al. 2017, eq. 7)
    k3 = exp(l_ref - l) - (l_ref - l) - 1    (Schulman's estimate: its mean over the policy is KL(policy, reference))

The factor r makes value and gradient of the penalty unbiased over the tokens that were sampled, as in DeepSeek-V3.2
(arXiv 2512.02556) and by default in TRL (`use_bias_correction_kl`).

With `level="sequence"`, r is the geometric mean of the tokens' ratios, one for all tokens of a sequence (GSPO; Zheng et
al. 2025, arXiv 2507.18071, eq. 7). The weights of the tokens come from `rl.weights`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from alfworld_sft.train.choices import RatioLevel
from alfworld_sft.train.data.pack import IGNORED
from alfworld_sft.train.model.loss import TokenLoss


class PolicyTokens(NamedTuple):
    """What an update knows of each token of a micro-batch; positions with an ignored label may hold anything.

    All have the labels' shape. `sequences` numbers the sequences from 0, and is used at the level of sequences only.
    """

    sampled: Tensor  # log-probabilities at which the tokens were sampled
    advantages: Tensor
    sequences: Tensor | None = None  # int64
    reference: Tensor | None = None  # log-probabilities under the reference


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """The clipped loss of sampled tokens, as an objective of their log-probabilities.

    At the level of sequences, the tokens of a sequence must have equal weights and be in one micro-batch.
    """

    tokens: PolicyTokens
    clip_low: float = 0.2
    clip_high: float = 0.2
    level: RatioLevel = "token"
    beta: float = 0.0

    @property
    def joint(self) -> bool:
        """Whether the ratio is one for all tokens of a sequence."""
        return self.level == "sequence"

    def __call__(self, logprob: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses and their slopes."""
        advantages = self.tokens.advantages.flatten()[tokens].to(logprob.dtype)
        ratio = self.ratio(logprob, tokens)
        free = ratio * advantages
        clipped = ratio.clamp(1 - self.clip_low, 1 + self.clip_high) * advantages
        loss = -torch.minimum(free, clipped)
        by_ratio = -torch.where(free <= clipped, free, 0)  # the derivative with respect to log r
        by_token = torch.zeros_like(loss)
        if self.beta:
            apart = self._reference(tokens).to(logprob.dtype) - logprob
            penalty = self.beta * ratio * (apart.exp() - apart - 1)
            loss, by_ratio = loss + penalty, by_ratio + penalty
            by_token = self.beta * ratio * (1 - apart.exp())
        return loss, by_token + (self._mean_by_sequence(by_ratio, tokens) if self.joint else by_ratio)

    def ratio(self, logprob: Tensor, tokens: Tensor) -> Tensor:
        """Return each token's importance ratio (n,)."""
        log_ratio = logprob - self.tokens.sampled.flatten()[tokens].to(logprob.dtype)
        return (self._mean_by_sequence(log_ratio, tokens) if self.joint else log_ratio).exp()

    def _reference(self, tokens: Tensor) -> Tensor:
        if self.tokens.reference is None:
            raise ValueError("beta needs the reference's log-probabilities")
        return self.tokens.reference.flatten()[tokens]

    def _mean_by_sequence(self, values: Tensor, tokens: Tensor) -> Tensor:
        """Return for each token the mean over its sequence."""
        if self.tokens.sequences is None:
            raise ValueError("the level of sequences needs the tokens' sequences")
        sequence = self.tokens.sequences.flatten()[tokens]
        size = int(sequence.max()) + 1 if len(sequence) else 0
        sums = values.new_zeros(size).index_add_(0, sequence, values)
        counts = values.new_zeros(size).index_add_(0, sequence, torch.ones_like(values))
        return (sums / counts)[sequence]


def policy_sums(objective: PolicyLoss, labels: Tensor, found: TokenLoss) -> dict[str, float]:
    """Return sums over a micro-batch's labelled tokens, to be added over micro-batches and divided by `tokens`.

    `labels` may ignore more tokens than the pass did, such as a filler's. `clipped_low` and `clipped_high` count tokens
    whose ratio is out of range, so that the clipped part of their loss has no gradient. `kl` is the k3 estimate of
    KL(sampling policy, policy), `kl_reference` that of KL(policy, reference), weighted by r. Entropies are in nats.
    """
    wanted = (labels != IGNORED).flatten().nonzero().squeeze(1)
    logprob = -found.nll.flatten()[wanted]
    advantages = objective.tokens.advantages.flatten()[wanted]
    ratio = objective.ratio(logprob, wanted)
    log_ratio = logprob - objective.tokens.sampled.flatten()[wanted]
    sums = {
        "tokens": float(len(wanted)),
        "clipped_low": float(((ratio < 1 - objective.clip_low) & (advantages < 0)).sum()),
        "clipped_high": float(((ratio > 1 + objective.clip_high) & (advantages > 0)).sum()),
        "kl": float((log_ratio.exp() - log_ratio - 1).double().sum()),
    }
    if found.entropy is not None:
        sums["entropy"] = float(found.entropy.flatten()[wanted].double().sum())
    if objective.tokens.reference is not None:
        apart = objective.tokens.reference.flatten()[wanted] - logprob
        sums["kl_reference"] = float((ratio * (apart.exp() - apart - 1)).double().sum())
    return sums
