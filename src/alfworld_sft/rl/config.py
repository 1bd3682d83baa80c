"""Which config keys does `rl` have? Those of `train` for the model and the run, those of `collect` for the games.

The rest is named as in TRL and verl. This module imports neither torch nor transformers, so a wrong key is reported
before anything heavy is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from alfworld_sft.config import Needs, Section, build_config
from alfworld_sft.games.layout import SPLITS_IN_WORDS, Split
from alfworld_sft.games.sources import GENERATE
from alfworld_sft.rl.advantages import Anchors, CutOff, Estimator, Scale
from alfworld_sft.rl.weights import LossType
from alfworld_sft.runs.config import EnvSection, GamesToPlay, PromptSection
from alfworld_sft.train.choices import RatioLevel, Schedule
from alfworld_sft.train.config import ALIASES, LimitsSection, OptimSection, RunSection, TrainingConfig
from alfworld_sft.types import DType, Form

HINTS = {
    "algorithm.adv_estimator": "write rl.advantage=grpo, rloo, gigpo or progress",
    "actor_rollout_ref.rollout.n": "write rl.num_generations=G",
    "data.train_batch_size": "write rl.games_per_step=N: each is played rl.num_generations times",
    "data.train_files": "leave it out: games are played; games.source names a folder of them",
    "rl.temperature": "write policy.temperature",
    "rl.top_p": "write policy.top_p",
    "rl.max_tokens": "write policy.max_tokens",
    "rl.max_steps": "write env.max_steps",
    "rl.lr": "write optim.lr",
    "trainer.total_epochs": "write trainer.total_training_steps=N: games have no epochs",
    "trainer.eval_template": "leave it out: the games of a test are prompted as prompt.template says",
}
"""What to do with keys of `train`, TRL and verl that have no meaning here."""


class RLLimitsSection(LimitsSection):
    """How much is computed at a time."""

    max_length: int = Field(
        4096,
        ge=8,
        description="Length of an episode in tokens that memory is planned for; a longer one is trained alone.",
    )


class RLGamesSection(GamesToPlay):
    """The games to learn from."""

    source: str | None = Field(GENERATE, description=GamesToPlay.model_fields["source"].description)
    split: Split = Field("train", description=f"{SPLITS_IN_WORDS}.")
    allow_eval_split: bool = Field(False, description="Allow learning from an evaluation split.")


class RLPromptSection(PromptSection):
    """How the policy is prompted: as in the data that it was fine-tuned on."""

    form: Form = Field("multi", description=PromptSection.model_fields["form"].description)


class SampledPolicySection(Section):
    """How the model in training is sampled, and where."""

    NEEDS: ClassVar[tuple[Needs, ...]] = (
        Needs(("base_url", "timeout_s", "attempts"), lambda policy: policy.name == "server", "policy.name=server"),
        Needs(("dtype",), lambda policy: policy.name == "local", "policy.name=local"),
    )

    name: Literal["local", "server"] = Field(
        "local",
        description="local: in this process; server: by a vLLM that loads each step's adapter"
        " (docs/reinforcement-learning.md).",
    )
    base_url: str | None = Field(None, description="Server's address; null: $OPENAI_BASE_URL.")
    temperature: float = Field(1.0, gt=0, le=2, description="Sampling temperature; the loss is of this distribution.")
    top_p: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Nucleus sampling threshold; the loss ignores it, so it is exact at 1 only.",
    )
    max_tokens: int = Field(512, ge=1, description="Maximum tokens per reply.")
    max_batch: int = Field(
        64, ge=1, description="Episodes that a process plays at once, and so the turns of a batch of the local model."
    )
    dtype: DType = Field(
        "auto", description="Dtype that the local model plays in; auto: bfloat16 on a GPU, float32 elsewhere."
    )
    timeout_s: float = Field(120.0, gt=0, description="Seconds to wait for a server's reply.")
    attempts: int = Field(6, ge=1, le=100, description="Maximum requests to a server per reply, with growing pauses.")


class RLSection(Section):
    """What is learned from the episodes, and when a run is stopped."""

    NEEDS: ClassVar[tuple[Needs, ...]] = (
        Needs(
            (
                *("advantage", "scale_rewards", "invalid_penalty", "epsilon", "epsilon_high"),
                *("importance_sampling_level", "beta"),
            ),
            lambda rl: rl.method == "policy_gradient",
            "rl.method=policy_gradient",
        ),
        Needs(("scale_rewards",), lambda rl: rl.advantage != "rloo", "rl.advantage=grpo, gigpo or progress", ("none",)),
        Needs(("step_weight", "anchors"), lambda rl: rl.advantage == "gigpo", "rl.advantage=gigpo", ("game",)),
        Needs(("gamma",), lambda rl: rl.advantage in ("gigpo", "progress"), "rl.advantage=gigpo or progress"),
        Needs(("progress_reward",), lambda rl: rl.advantage == "progress", "rl.advantage=progress"),
        Needs(("lam", "cut_off"), lambda rl: rl.advantage == "progress", "rl.advantage=progress", (1.0, "zero")),
    )

    method: Literal["policy_gradient", "best_of"] = Field(
        "policy_gradient",
        description="policy_gradient: clipped policy gradient with advantages; best_of: train the won episodes by"
        " likelihood (expert iteration).",
    )
    advantage: Estimator = Field(
        "grpo",
        description="grpo, rloo: an episode's reward against those of its game; gigpo: also by step, between equal"
        " observations; progress: by step, from the exact distance to the goal.",
    )
    scale_rewards: Scale = Field(
        "group", description="group: divide by the standard deviation of the game's rewards; none: do not."
    )
    step_weight: float = Field(1.0, ge=0, description="gigpo: weight of the advantage by step.")
    anchors: Anchors = Field(
        "game", description="gigpo: equal observations count within one game (verl-agent) or the batch (Trinity)."
    )
    gamma: float | None = Field(
        None, gt=0, le=1, description="Discount per step; null: 0.95 for gigpo, 1 for progress."
    )
    lam: float = Field(1.0, ge=0, le=1, description="progress: below 1, nearby turns are credited more.")
    progress_reward: float = Field(
        0.1, gt=0, description="progress: reward of a step nearer to the goal; winning is 1."
    )
    cut_off: CutOff = Field(
        "zero",
        description="progress: potential where an episode is cut off. zero: the best policy stays the same; kept: by"
        " the distance, so that lost episodes also differ by how close they came.",
    )
    invalid_penalty: float = Field(0.0, ge=0, description="Reward lost for each reply that the game cannot execute.")
    num_generations: int = Field(8, ge=1, description="Episodes played per game (G).")
    games_per_step: int = Field(8, ge=1, description="Games per step, over all processes.")
    max_num_gen_batches: int = Field(
        1,
        ge=1,
        description="Most batches of games played in a step, until games_per_step of them have episodes that differ in"
        " reward; 1: games without a difference are dropped.",
    )
    num_iterations: int = Field(1, ge=1, description="Updates per batch of episodes.")
    epsilon: float = Field(0.2, gt=0, lt=1, description="Clipping range of the probability ratio, below 1.")
    epsilon_high: float | None = Field(None, gt=0, description="The same above 1; null: epsilon.")
    importance_sampling_level: RatioLevel = Field(
        "token", description="Ratios of tokens (GRPO), or their geometric mean over a sequence (GSPO)."
    )
    loss_type: LossType = Field(
        "dapo",
        description="dapo: mean over all trained tokens; dr_grpo: sum divided by a constant; grpo: mean over episodes"
        " of their means.",
    )
    beta: float = Field(0.0, ge=0, description="Weight of the KL divergence from the starting model.")
    kl_limit: float | None = Field(
        1.0,
        gt=0,
        description="Stop if the KL divergence per token from the starting model exceeds this; null: do not measure it"
        " (saves a forward pass with beta=0).",
    )
    min_valid_share: float = Field(
        0.05, ge=0, le=1, description="Stop if fewer of a step's replies contain a command that can be executed."
    )
    patience: int = Field(64, ge=1, description="Stop after this many games in a row without a won episode.")


class RLRunSection(RunSection):
    """The run: length, checkpoints, logging, games."""

    experiment_name: str = Field("rl", min_length=1, description=RunSection.model_fields["experiment_name"].description)
    total_training_steps: int = Field(100, ge=1, description="Steps: batches of games played and trained on.")
    save_freq: int = Field(10, ge=0, description="Steps between checkpoints; 0: only at the end.")
    test_freq: int = Field(10, ge=0, description="Steps between tests (eval_games); 0: only at the end.")
    seed: int = Field(1, ge=0, lt=2**32, description="Seed of the games, the sampling and the initial adapters.")


class RLOptimSection(OptimSection):
    """How the weights are updated."""

    lr: float = Field(2e-5, gt=0, description="Peak learning rate.")
    warmup_steps_ratio: float = Field(0.0, ge=0, le=1, description="Share of the steps used for linear warm-up.")
    lr_scheduler: Schedule = Field("constant", description=OptimSection.model_fields["lr_scheduler"].description)


class RLConfig(TrainingConfig):
    """Everything that determines a run of `rl`."""

    NEEDS: ClassVar[tuple[Needs, ...]] = (
        Needs(("trainer.test_freq",), lambda config: config.trainer.eval_games, "trainer.eval_games"),
        Needs(("prompt.history_length",), lambda config: config.prompt.form == "single", "prompt.form=single"),
    )

    data: RLLimitsSection = RLLimitsSection()
    optim: RLOptimSection = RLOptimSection()
    trainer: RLRunSection = RLRunSection()
    games: RLGamesSection = RLGamesSection()
    env: EnvSection = EnvSection()
    prompt: RLPromptSection = RLPromptSection()
    policy: SampledPolicySection = SampledPolicySection()
    rl: RLSection = RLSection()

    @property
    def longest_row(self) -> None:
        """No maximum but the model's context: an episode longer than data.max_length is trained whole."""
        return

    @model_validator(mode="after")
    def _check_group(self) -> Self:
        rl = self.rl
        by_group = rl.method == "policy_gradient" and rl.advantage != "progress"
        if by_group and rl.num_generations == 1:
            raise ValueError(
                f"rl.num_generations=1: rl.advantage={rl.advantage} compares episodes of one game;"
                " set 2 or more, or rl.advantage=progress"
            )
        if self.policy.name == "server" and not self.model.lora_rank:
            raise ValueError(
                "policy.name=server: the server loads each step's adapter, and model.lora_rank=0 makes none;"
                " set model.lora_rank, or policy.name=local"
            )
        return self


def build_rl_config(overrides: Sequence[str]) -> RLConfig:
    """Return the config with the overrides applied; raises ConfigError with one line per problem."""
    return build_config(RLConfig, overrides, aliases=ALIASES, hints=HINTS)
