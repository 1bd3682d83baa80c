"""Which config keys does `evaluate` have?"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from alfworld_sft.config import Needs
from alfworld_sft.games.layout import Split
from alfworld_sft.policies.config import EvaluatedPolicySection
from alfworld_sft.runs.config import GamesToPlay, RunConfig


class EvaluatedGamesSection(GamesToPlay):
    """The games that a policy is evaluated on."""

    split: Split = Field("valid_seen", description="train, valid_seen or valid_unseen.")


class EvaluateConfig(RunConfig):
    """Everything that determines an evaluation."""

    NEEDS: ClassVar[tuple[Needs, ...]] = (
        # Collections accept a window with either form, since it also bounds the single-turn rows.
        Needs(("prompt.history_length",), lambda config: config.prompt.form == "single", "prompt.form=single"),
    )

    games: EvaluatedGamesSection = EvaluatedGamesSection()
    policy: EvaluatedPolicySection = EvaluatedPolicySection()
    num_games: int | None = Field(
        None, ge=1, description="Number of games to play, chosen by the seed; null plays all."
    )
    repeats: int = Field(1, ge=1, le=1000, description="Plays of each game; more than 1 gives pass@k.")
