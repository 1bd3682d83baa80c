"""When does a run stop because it learns nothing, or the wrong thing? Checked in every step."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
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


class NothingWonError(RunawayError):
    """Games that are not won for too long, or not played; the model is that of the last step: worth a checkpoint."""


class OtherModelError(UserError):
    """A server whose replies are not those of the model in training."""


@dataclass
class Watch:
    """Watches a run's steps. `dry_games` counts the last games in a row without a won episode.

    `easier` says how to get easier games, `kept` which checkpoint there is.
    """

    limits: RLSection
    easier: str
    kept: Callable[[], str]
    dry_games: int = 0

    def games_played(self, step: int, groups: Sequence[Group]) -> None:
        """Count the step's games.

        Raises RunawayError if no game could be played to its end, none was won for too long, or too few actions are
        possible.
        """
        episodes = [episode for group in groups for episode in group.episodes]
        problems = [step.problem for episode in episodes for step in episode.steps]
        failures = [episode.error for episode in episodes if episode.error is not None]
        if failures and len(failures) == len(episodes):
            raise NothingWonError(f"step {step}: none of {len(episodes)} episodes was played to its end: {failures[0]}")
        for group in (group for group in groups if group.finished):
            self.dry_games = 0 if group.won else self.dry_games + 1
        if self.dry_games >= self.limits.patience:
            raise NothingWonError(
                f"step {step}: no episode of the last {self.dry_games} games was won; {self.easier}, fine-tune the"
                " model further first (alfworld-sft train), or wait longer (rl.patience)"
            )
        valid = problems.count(None) / len(problems) if problems else 0.0
        if valid < self.limits.min_valid_share:
            raise RunawayError(
                f"step {step}: {valid:.0%} of the replies contain a command that can be executed, fewer than"
                f" rl.min_valid_share={self.limits.min_valid_share:g}; prompt as in fine-tuning (prompt.template,"
                f" prompt.form), fine-tune further first, or take a smaller optim.lr ({self.kept()})"
            )

    def diverged(self, step: int, kl: float) -> None:
        """Raise RunawayError if the KL divergence from the starting model is over its limit."""
        if self.limits.kl_limit is not None and kl > self.limits.kl_limit:
            raise RunawayError(
                f"step {step}: the KL divergence from the starting model is {kl:.3g} per token, over"
                f" rl.kl_limit={self.limits.kl_limit:g}; take a smaller optim.lr or a larger rl.beta, or raise the"
                f" limit ({self.kept()})"
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
