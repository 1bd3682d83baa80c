"""When does a run stop because it learns nothing, or the wrong thing? Checked in every step; nothing of it is saved."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alfworld_sft.errors import UserError
from alfworld_sft.rl.config import RLSection
from alfworld_sft.rl.rollout import Group

DRY_GAMES = "dry_games"
"""The figure that counts games in a row without a won episode; a resumed run reads it from its log."""


MOST_POLICY_KL = 0.1
"""The most that a served policy and the model in training may differ per token, in nats: rounding stays far below it,
another model far above."""


class RunawayError(UserError):
    """Training that would only make the model worse, or cannot make it better."""


class OtherModelError(UserError):
    """A server whose replies are not those of the model in training."""


@dataclass
class Watch:
    """Watches a run's steps. `dry_games` counts the last games in a row without a won episode."""

    limits: RLSection
    dry_games: int = 0

    def games_played(self, step: int, groups: Sequence[Group]) -> None:
        """Count the step's games; raises RunawayError if none was won for too long, or too few actions are possible."""
        for group in groups:
            self.dry_games = 0 if group.won else self.dry_games + 1
        if self.dry_games >= self.limits.patience:
            raise RunawayError(
                f"step {step}: no episode of the last {self.dry_games} games was won, and there is nothing to learn;"
                " play easier games (games.difficulty=easy), fine-tune the model further first (alfworld-sft train),"
                " or wait longer (rl.patience)"
            )
        problems = [step.problem for group in groups for episode in group.episodes for step in episode.steps]
        valid = problems.count(None) / len(problems) if problems else 0.0
        if valid < self.limits.min_valid_share:
            raise RunawayError(
                f"step {step}: {valid:.0%} of the replies contain a command that can be executed, fewer than"
                f" rl.min_valid_share={self.limits.min_valid_share:g}; prompt as in fine-tuning (prompt.template,"
                " prompt.form), fine-tune further first, or resume from an earlier checkpoint with a smaller optim.lr"
            )

    def diverged(self, step: int, kl: float) -> None:
        """Raise RunawayError if the KL divergence from the starting model is over its limit."""
        if self.limits.kl_limit is not None and kl > self.limits.kl_limit:
            raise RunawayError(
                f"step {step}: the KL divergence from the starting model is {kl:.3g} per token, over"
                f" rl.kl_limit={self.limits.kl_limit:g}; resume from an earlier checkpoint with a smaller optim.lr or a"
                " larger rl.beta, or raise the limit"
            )

    def played_elsewhere(self, step: int, policy_kl: float) -> None:
        """Raise OtherModelError if a server's log-probabilities are not those of the model in training.

        With several updates per batch the divergence is that of learning, too, so nothing is concluded from it.
        """
        if self.limits.num_iterations == 1 and policy_kl > MOST_POLICY_KL:
            raise OtherModelError(
                f"step {step}: the log-probabilities of the server's replies are not those of the model in training"
                f" (policy_kl {policy_kl:.3g} per token); serve the model of model.path, with --logprobs-mode"
                " processed_logprobs if policy.temperature is not 1"
            )


def dry_games_in(metrics: Path, step: int) -> int:
    """Return the games in a row without a won episode up to a step, as the run's log says; 0 without it."""
    if not metrics.exists():
        return 0
    found = 0
    for line in metrics.read_bytes().splitlines():
        try:
            record = json.loads(line)
            found = int(record[DRY_GAMES]) if record["step"] <= step else found
        except (ValueError, KeyError, TypeError):
            continue  # a test's line, or a torn one
    return found
