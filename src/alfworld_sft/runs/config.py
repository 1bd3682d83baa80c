"""Which config keys does every run have? Games, environment, prompt, runner."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from alfworld_sft.config import Needs, Section
from alfworld_sft.games.layout import SPLITS_IN_WORDS, Split
from alfworld_sft.games.sources import EMBEDDED, GENERATE, resolve_source
from alfworld_sft.policies.config import PolicySection
from alfworld_sft.runs.probes import NO_PROBES, Probes
from alfworld_sft.types import MAX_STEPS, MOST_STEPS, Form, TaskType

RunKind = Literal["collect", "evaluate"]
"""The command that created a run."""
PREFIXES: dict[RunKind, str] = {"collect": "sft_data", "evaluate": "eval"}
"""Prefixes of run folder names, by command."""


def all_as_none(value: object) -> object:
    """Return None for the word "all", which people write for no limit."""
    return None if value == "all" else value


class GamesToPlay(Section):
    """The games to play."""

    NEEDS: ClassVar[tuple[Needs, ...]] = (
        Needs(("difficulty",), lambda games: games.source == GENERATE, "games.source=generate", harmless=("normal",)),
    )

    source: str | None = Field(
        None,
        description="Data folder, folder of *.tw-pddl files, one file, 'embedded' (the games in the package), or"
        " 'generate' (a new game for every episode); null: $ALFWORLD_DATA, else embedded.",
    )
    split: Split = Field(description=f"{SPLITS_IN_WORDS}.")
    task_types: list[TaskType] | None = Field(None, min_length=1, description="Only these task types; null plays all.")
    difficulty: str | float = Field(
        "normal", description="Difficulty of the games of source=generate: easy, normal, hard, or a number from 0 to 2."
    )

    def with_absolute_paths(self) -> Self:
        """Return the section with paths that stay valid when the run is resumed from another folder."""
        return self.model_copy(update={"source": absolute_source(self.source)})


class EnvSection(Section):
    """Limits of a game."""

    max_steps: int = Field(MAX_STEPS, ge=1, le=MOST_STEPS, description="Maximum steps per episode.")
    max_repeats: int | None = Field(
        None,
        ge=2,
        description="End an episode as lost when the same command has had the same answer N times in the last 4N"
        " steps (8 works well); null: never.",
    )


class PromptSection(Section):
    """How the policy is prompted."""

    template: str = Field("default", description="default, add_wm1, add_wm2, compact, or the path of a .toml file.")
    form: Form = Field("single", description="single: one message per turn; multi: a conversation.")
    history_length: Annotated[int | None, BeforeValidator(all_as_none)] = Field(
        None, ge=0, description="Past steps shown in a single-turn prompt; null or 'all' shows all of them."
    )


class RunnerSection(Section):
    """How the episodes are played."""

    concurrency: int = Field(64, ge=1, le=10_000, description="Number of episodes played concurrently.")


class RunConfig(Section):
    """The config of any run: games, policy, prompts and limits."""

    seed: int = Field(42, ge=0, description="Seed for the order of games and the policy's choices.")
    games: GamesToPlay
    env: EnvSection = EnvSection()
    policy: PolicySection = PolicySection()
    prompt: PromptSection = PromptSection()
    runner: RunnerSection = RunnerSection()

    @property
    def probes(self) -> Probes:
        """What is recorded of each turn besides what is played: nothing, unless a command has keys for it."""
        return NO_PROBES

    @model_validator(mode="after")
    def _prices_go_together(self) -> Self:
        policy = self.policy
        priced = (policy.price_prompt, policy.price_completion, policy.price_cached) != (None, None, None)
        if priced and policy.prices is None:
            raise ValueError("a cost needs both prices: policy.price_prompt and policy.price_completion")
        return self


def absolute_source(source: str | None) -> str:
    """Return the source in a form that stays valid when the run is resumed from another folder."""
    meant = str(resolve_source(source))
    return meant if meant in (EMBEDDED, GENERATE) else str(Path(meant).expanduser().absolute())
