"""Which config keys does `collect` have?"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from alfworld_sft.config import Section
from alfworld_sft.dataset.rows import Predictions, RowsPer
from alfworld_sft.games.layout import SPLITS_IN_WORDS, Split
from alfworld_sft.policies.config import CollectingPolicySection
from alfworld_sft.runs.config import EnvSection, GamesToPlay, RunConfig
from alfworld_sft.runs.probes import Probes


class GamesSection(GamesToPlay):
    """The games that training data comes from."""

    split: Split = Field("train", description=f"{SPLITS_IN_WORDS}.")
    allow_eval_split: bool = Field(False, description="Allow collecting training data from an evaluation split.")
    lost_by: list[str] | None = Field(
        None,
        min_length=1,
        description="Only the games that these runs lost: folders of collect or evaluate; null: all of the source.",
    )

    def with_absolute_paths(self) -> Self:
        """Return the section with paths that stay valid when the run is resumed from another folder."""
        if self.lost_by is None:
            return super().with_absolute_paths()
        return self.model_copy(update={"lost_by": [str(Path(run).expanduser().absolute()) for run in self.lost_by]})

    @model_validator(mode="after")
    def _check_lost_by(self) -> Self:
        if self.lost_by and self.source is not None:
            raise ValueError("lost_by: those runs say where their games come from; leave games.source out")
        return self


class CollectedEnvSection(EnvSection):
    """Limits of a game, and what is measured in it."""

    record_distance: bool = Field(
        False, description="Record the exact steps to the goal before and after each turn, for export --to dpo."
    )


class WorldModelSection(Section):
    """What `<prediction>` contains in the training text, and which other actions are tried."""

    predictions: Predictions = Field(
        "grounded",
        description="grounded: the observation that followed; grounded_answer: that in the reply that a row trains, and"
        " before it the policy's own prediction, as when it plays; model: the policy's own prediction.",
    )
    alternatives: int = Field(
        0,
        ge=0,
        le=100,
        description="Other admissible actions to try at each turn, for worldmodel.next_state_rows of training.",
    )


class DatasetSection(Section):
    """Which episodes become rows, and how they are split."""

    require_success: bool = Field(False, description="Keep won episodes only.")
    rows_per: RowsPer = Field(
        "turn",
        description="turn: one row per action, for single-turn and multi-turn training; episode: one row with the full"
        " conversation, much smaller, for multi-turn training only.",
    )
    val_fraction: float = Field(
        0.1, ge=0, le=0.5, description="Share of the rows held out for validation, split by game."
    )


class CollectConfig(RunConfig):
    """Everything that determines the output of a collection run."""

    num_episodes: int | None = Field(None, ge=1, description="Episodes to play; null plays every game once.")
    seed: int = Field(42, ge=0, description="Seed for the order of games, the policy's choices and the split.")
    games: GamesSection = GamesSection()
    env: CollectedEnvSection = CollectedEnvSection()
    policy: CollectingPolicySection = CollectingPolicySection()
    worldmodel: WorldModelSection = WorldModelSection()
    dataset: DatasetSection = DatasetSection()

    @property
    def probes(self) -> Probes:
        """What is recorded of each turn besides what is played."""
        return Probes(self.worldmodel.alternatives, self.env.record_distance)

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        leave = "leave the conversation, so each needs a row of its own"
        grounded_answer = self.worldmodel.predictions == "grounded_answer"
        wanted = (
            (self.worldmodel.alternatives, "worldmodel.alternatives", "a turn's alternatives belong to the turn's row"),
            (grounded_answer, "worldmodel.predictions=grounded_answer", f"grounded answers {leave}"),
            (self.policy.teacher, "policy.teacher", f"a teacher's answers {leave}"),
        )
        for chosen, option, reason in wanted:
            if chosen and self.dataset.rows_per == "episode":
                raise ValueError(f"dataset.rows_per=episode: {reason}; use dataset.rows_per=turn with {option}")
        return self

    @model_validator(mode="after")
    def _check_predictions(self) -> Self:
        if self.worldmodel.predictions == "grounded_answer" and self.policy.teacher:
            raise ValueError(
                "worldmodel.predictions=grounded_answer: with policy.teacher only answers are grounded anyway; leave"
                " it out"
            )
        unseen = self.worldmodel.predictions == "grounded" and self.policy.teacher is None
        if unseen and self.policy.guesses != "likeliest":
            raise ValueError(
                f"policy.guesses={self.policy.guesses}: worldmodel.predictions=grounded writes what came in place of"
                " every guess; use worldmodel.predictions=grounded_answer"
            )
        return self

    @model_validator(mode="after")
    def _check_teacher(self) -> Self:
        teacher = self.policy.teacher
        if teacher is None:
            return self
        if self.policy.rationalize:
            raise ValueError(
                "policy.teacher: with policy.rationalize the expert acts already; leave out one of the two"
            )
        if teacher == "planner" and self.prompt.form == "single" and self.prompt.history_length == 0:
            raise ValueError(
                "policy.teacher=planner follows the game by the prompt's last step, and prompt.history_length=0 shows"
                " none; use 1 or more"
            )
        bounded = self.prompt.form == "single" and self.prompt.history_length is not None
        if self.policy.name == "planner" and self.policy.teacher_share and bounded:
            raise ValueError(
                "policy.teacher_share: policy.name=planner follows the game by the steps that its prompts show, and"
                f" prompt.history_length={self.prompt.history_length} may not show all that the teacher has played;"
                " leave prompt.history_length out"
            )
        return self

    @model_validator(mode="after")
    def _check_rationalize(self) -> Self:
        policy = self.policy
        if policy.rationalize and policy.name not in ("server", "local"):
            raise ValueError(
                f"policy.rationalize: the expert acts, and a model writes its reasons; policy.name={policy.name} is not"
                " a model: use server or local"
            )
        if policy.rationalize and policy.keep_token_ids:
            raise ValueError(
                "policy.keep_token_ids=true: with policy.rationalize the model sees a hint that no stored prompt has,"
                " so its token ids are useless; leave it out"
            )
        return self
