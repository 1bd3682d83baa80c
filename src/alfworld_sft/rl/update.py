"""How do a step's samples change the weights? One or several exact updates of the loss over all of their tokens.

The loss is Σ weight·loss over the tokens of all processes (`weights` says which weights), so it does not depend on how
the samples are packed and shared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from alfworld_sft.rl.config import RLConfig
from alfworld_sft.rl.reference import Reference
from alfworld_sft.rl.sequences import PlayedSample
from alfworld_sft.train.data.batches import micro_batches
from alfworld_sft.train.data.pack import IGNORED, Packed, shift
from alfworld_sft.train.distributed import gradient_sync
from alfworld_sft.train.learner import Figures, Learner, forward, report_out_of_memory
from alfworld_sft.train.model.objectives import Likelihood, Objective
from alfworld_sft.train.model.policy_loss import PolicyLoss, PolicyTokens, policy_sums


class Updater:
    """Updates a learner's weights, and measures how far they move from the reference, if one is given."""

    def __init__(self, learner: Learner, config: RLConfig, reference: Reference | None) -> None:
        self._learner, self._config, self._rl, self._reference = learner, config, config.rl, reference

    def update(self, step: int, samples: Sequence[PlayedSample]) -> Figures:
        """Train on the samples and return the step's figures; without samples nothing changes. Raises DivergedError."""
        learner, ranks = self._learner, self._learner.ranks
        factor = learner.lr_factor(step)
        losses: list[float] = []
        norms: list[float] = []
        sums: Counter[str] = Counter()
        if samples:
            with report_out_of_memory(self._config):
                micro = micro_batches(samples, ranks.rank, ranks.world, learner.budget)
                policies = self._policies(micro)
                for _ in range(self._rl.num_iterations):
                    losses.append(ranks.sums(self._backward(micro, policies, sums))[0])
                    norms.append(learner.optimizer.clip(self._config.optim.clip_grad))
                    learner.check_finite(step, losses[-1], norms[-1], f"{len(samples)} sequences")
                    learner.optimizer.step(factor)
        names = sorted(sums)
        return {
            "loss": sum(losses) / len(losses) if losses else None,
            "lr": self._config.optim.lr * factor,
            "grad_norm": sum(norms) / len(norms) if norms else None,
            **_means(dict(zip(names, ranks.sums(*(float(sums[name]) for name in names)), strict=True))),
        }

    def _policies(self, micro: Sequence[Packed]) -> list[PolicyLoss]:
        """Return the policy loss of each micro-batch, before the first update."""
        rl, device = self._rl, self._learner.ranks.device
        unknown: list[Tensor | None] = [None] * len(micro)
        references = self._reference.logprobs(micro) if self._reference else unknown
        return [
            PolicyLoss(
                PolicyTokens(*_sampled(packed, device), reference),
                clip_low=rl.epsilon,
                clip_high=rl.epsilon if rl.epsilon_high is None else rl.epsilon_high,
                level=rl.importance_sampling_level,
                beta=rl.beta,
            )
            for packed, reference in zip(micro, references, strict=True)
        ]

    def _backward(self, micro: Sequence[Packed], policies: Sequence[PolicyLoss], sums: Counter[str]) -> float:
        """Add the gradient of the step's loss and the sums for its figures; return this process's part of the loss."""
        learner, ranks = self._learner, self._learner.ranks
        total = torch.zeros((), dtype=torch.float64, device=ranks.device)
        for number, (packed, policy) in enumerate(zip(micro, policies, strict=True), 1):
            objective: Objective = Likelihood() if self._rl.method == "best_of" else policy
            with gradient_sync(learner.module, last=number == len(micro)), learner.products():
                found = forward(learner.module, packed, ranks.device, objective, entropy=True)
                # Gradients are averaged over processes but should be summed.
                (found.loss * ranks.world).backward()
            total += found.loss.detach()
            trained = packed.labels.where(packed.weights != 0, IGNORED).to(ranks.device)  # fillers have no weight
            sums.update(policy_sums(policy, trained, found))
        return float(total)


def _sampled(packed: Packed, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return sampled log-probabilities, advantages and numbers of sequences of a micro-batch's tokens, (1, tokens)."""
    samples = cast("tuple[PlayedSample, ...]", packed.samples)
    fields = (
        [shift(sample.logprobs) for sample in samples],
        [shift(sample.advantages) for sample in samples],
        [np.full(len(sample), number, dtype=np.int64) for number, sample in enumerate(samples)],
    )
    logprobs, advantages, sequences = (torch.from_numpy(np.concatenate(field)[None]).to(device) for field in fields)
    return logprobs, advantages, sequences


def _means(sums: dict[str, float]) -> Figures:
    """Return the figures of the trained tokens from their sums."""
    tokens = sums.get("tokens")
    if not tokens:
        return {}
    names = {"kl_reference": "kl", "kl": "policy_kl", "entropy": "entropy"}
    return {
        "trained_tokens": tokens,
        "clip_fraction": (sums["clipped_low"] + sums["clipped_high"]) / tokens,
        **{name: sums[key] / tokens for key, name in names.items() if key in sums},
    }
