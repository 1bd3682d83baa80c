"""Which keys does training's typed config have? The names in the recipe's guide, and in the older verl trainer.

This module imports neither torch nor transformers, so a wrong key is reported before anything heavy is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from alfworld_sft.config import Needs, Section, build_config
from alfworld_sft.games.layout import SPLITS_IN_WORDS, Split
from alfworld_sft.models.reference import expand_home
from alfworld_sft.policies.config import Constrain
from alfworld_sft.train.choices import AttentionChoice, DeviceChoice, OptimizerName, Schedule, Strategy, Weighting
from alfworld_sft.types import MAX_STEPS, MOST_STEPS

ALIASES = {
    "model.path": "model.partial_pretrain",
    "optim.lr_warmup_steps_ratio": "optim.warmup_steps_ratio",
    "data.micro_batch_size": "data.micro_batch_size_per_gpu",
}
"""verl's other names for a key."""

HINTS = {
    "data.balance_dp_token": "leave it out: micro-batches are always balanced by tokens",
    "data.chat_template": "leave it out: the tokenizer's own chat template is used",
    "data.custom_cls.path": "leave it out: there are no datasets of your own classes here",
    "data.multiturn.tools_key": "leave it out: ALFWorld's conversations have no tools",
    "data.use_shm": "leave it out: it is not needed here",
    "optim.learning_rate": "did you mean 'optim.lr'?",
    "model.external_lib": "leave it out: no code from elsewhere is run",
    "model.fsdp_config.model_dtype": "write model.dtype=bfloat16 or float32",
    "model.trust_remote_code": "leave it out: no code from elsewhere is run",
    "model.use_liger": "leave it out: cross-entropy in chunks is built in",
    "model.use_shm": "leave it out: it is not needed here",
    "trainer.default_hdfs_dir": "leave it out: copy trainer.default_local_dir after the run",
    "trainer.n_gpus_per_node": "leave it out: torchrun's --nproc_per_node decides it",
    "trainer.nnodes": "leave it out: torchrun's --nnodes decides it",
    "trainer.resume_from_path": "write trainer.resume_mode=PATH",
    "ulysses_sequence_parallel_size": "leave it out: sequences are not split over GPUs here",
    "use_remove_padding": "leave it out: sequences are always packed without padding",
}
"""What to do with keys of verl that have no meaning here."""

LOGGERS = ("console", "jsonl", "tensorboard", "wandb")


def _check_loggers(names: list[str]) -> list[str]:
    unknown = [name for name in names if name not in LOGGERS]
    if unknown:
        raise ValueError(f"there are {', '.join(LOGGERS)}")
    return names


def _resolve_strategy(value: object) -> object:
    return "fsdp2" if value == "fsdp" else value


Names = Annotated[list[str], Field(min_length=1)]


class TrainSection(Section):
    """A group of keys; a number is accepted as text where text is expected, e.g. as a run's name."""

    model_config = ConfigDict(coerce_numbers_to_str=True)


class MultiturnSection(TrainSection):
    """Training on full conversations."""

    NEEDS: ClassVar[tuple[Needs, ...]] = (
        Needs(("weighting", "fold"), lambda multiturn: multiturn.enable, "data.multiturn.enable=true"),
    )

    enable: bool = Field(False, description="Train on full conversations; false trains on prompt and response.")
    messages_key: str = Field("messages", description="Column with the conversation, a list of {role, content}.")
    weighting: Weighting = Field(
        "uniform",
        description="uniform: each turn counts once; cumulative: once per row that contains it, as in verl and TRL.",
    )
    fold: bool = Field(True, description="Train the cumulative rows of an episode in one pass, with the same gradient.")


class LimitsSection(TrainSection):
    """How much is computed at a time."""

    max_length: int = Field(2048, ge=8, description="Maximum sequence length in tokens.")
    micro_batch_size_per_gpu: int = Field(
        2, ge=1, description="Memory limit: a micro-batch holds up to this many times max_length tokens."
    )


class DataSection(LimitsSection):
    """The training data, and the size of batches and sequences."""

    train_files: Names | None = Field(None, description="Parquet file or files, or a dataset folder. Required.")
    val_files: list[str] | None = Field(None, description="The same for validation; null: no validation.")
    prompt_key: str = Field("prompt_data", description="Column with the prompt (single-turn).")
    response_key: str = Field("response_data", description="Column with the response (single-turn).")
    prompt_dict_keys: list[str] | None = Field(
        ["content"], description="Path to the text inside the prompt's column; null if the column is text."
    )
    response_dict_keys: list[str] | None = Field(
        ["content"], description="Path to the text inside the response's column; null if the column is text."
    )
    multiturn: MultiturnSection = MultiturnSection()
    truncation: Literal["error", "left", "right", "turn"] = Field(
        "turn",
        description="For longer sequences: turn keeps the turns that fit and drops single-turn rows; left and right cut"
        " off tokens at that end; error refuses.",
    )
    train_batch_size: int = Field(128, ge=1, description="Rows per optimizer step, over all processes.")


class ModelSection(TrainSection):
    """The model, and which of its weights are trained."""

    NEEDS: ClassVar[tuple[Needs, ...]] = (
        Needs(("lora_alpha", "target_modules"), lambda model: model.lora_rank, "adapters, which model.lora_rank makes"),
    )

    partial_pretrain: Annotated[str, AfterValidator(expand_home)] = Field(
        "Qwen/Qwen2.5-1.5B-Instruct", description="Base model: a folder, or a name on the hub. Alias: `model.path`."
    )
    lora_rank: int = Field(32, ge=0, le=1024, description="Rank of the adapters; 0 trains all weights.")
    lora_alpha: float = Field(16, gt=0, description="Scale of the adapters: their output is multiplied by alpha/rank.")
    target_modules: str | list[str] = Field(
        "all-linear",
        description="Which layers get adapters: all-linear, a list such as [q_proj,v_proj], or a regular expression"
        " that matches full names.",
    )
    enable_gradient_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass: less memory, a third more time."
    )
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        "auto",
        description="Dtype of the frozen weights and of the computation; auto: bfloat16 on a GPU, and on a CPU that"
        " multiplies it for adapters on a wide model; else float32.",
    )
    attention: AttentionChoice = Field(
        "auto",
        description="packed: no computation across sequences of a micro-batch (variable-length kernel on a GPU); sdpa:"
        " with a mask; auto: packed if the architecture allows it.",
    )
    compile: bool = Field(False, description="Compile each layer with torch.compile; worthwhile only on a GPU.")
    strategy: Annotated[Strategy, BeforeValidator(_resolve_strategy)] = Field(
        "ddp", description="ddp: every process holds the full model; fsdp2: the model is sharded over processes."
    )


class OptimSection(TrainSection):
    """How the weights are updated."""

    NEEDS: ClassVar[tuple[Needs, ...]] = (
        Needs(("momentum",), lambda optim: optim.name == "muon", "optim.name=muon"),
        Needs(
            ("min_lr_ratio",),
            lambda optim: optim.lr_scheduler != "constant",
            "optim.lr_scheduler=cosine or linear",
        ),
    )

    name: OptimizerName = Field(
        "adamw", description="adamw; or muon for the matrices inside the layers, with adamw for the rest."
    )
    lr: float = Field(1e-4, gt=0, description="Peak learning rate.")
    betas: tuple[float, float] = Field((0.9, 0.95), description="AdamW's decay rates for the two moments.")
    weight_decay: float = Field(0.01, ge=0, description="Decoupled weight decay of matrices.")
    momentum: float = Field(0.95, ge=0, lt=1, description="Muon's momentum.")
    warmup_steps_ratio: float = Field(0.1, ge=0, le=1, description="Share of the steps used for linear warm-up.")
    clip_grad: float = Field(1.0, ge=0, description="Maximum gradient norm; 0 disables clipping.")
    lr_scheduler: Schedule = Field("cosine", description="Learning-rate schedule after the warm-up.")
    min_lr_ratio: float = Field(0.0, ge=0, le=1, description="Final learning rate as a share of the peak.")


class LossSection(TrainSection):
    """The loss of a token, as a function of its probability p."""

    NEEDS: ClassVar[tuple[Needs, ...]] = (Needs(("clip_below",), lambda loss: loss.kind == "clip", "loss.kind=clip"),)

    kind: Literal["nll", "dft", "clip"] = Field(
        "nll",
        description="nll: -log p; dft: that times p, held constant (dynamic fine-tuning); clip: -log p, with the"
        " gradient bounded for improbable tokens.",
    )
    clip_below: float = Field(
        0.1, gt=0, le=1, description="Probability c below which clip scales a token's gradient by p/c."
    )

    @property
    def as_options(self) -> str:
        """What follows `loss.kind=` on a command line that gives the same loss."""
        return f"clip loss.clip_below={self.clip_below:g}" if self.kind == "clip" else self.kind


class WorldModelLossSection(TrainSection):
    """Learning to predict observations."""

    loss_weight: float = Field(1.0, ge=0, description="Weight of the loss on <prediction> tokens.")
    observation_loss: float = Field(
        0.0, ge=0, description="Weight of the loss on the observations of a conversation; 0.3 helps small models."
    )
    next_state_rows: float = Field(
        0.0,
        ge=0,
        le=100,
        description="Extra rows that only predict the next observation, per action row; those of other actions need a"
        " dataset collected with worldmodel.alternatives.",
    )


class RunSection(TrainSection):
    """Any training run: checkpoints, logging, games."""

    NEEDS: ClassVar[tuple[Needs, ...]] = (
        Needs(
            ("eval_split", "eval_source", "eval_max_steps", "eval_max_tokens"),
            lambda trainer: trainer.eval_games,
            "trainer.eval_games=N",
        ),
        Needs(("eval_constrain",), lambda trainer: trainer.eval_games, "trainer.eval_games=N", harmless=("none",)),
    )

    default_local_dir: str | None = Field(
        None, description="Folder for checkpoints and logs; null: checkpoints/project_name/experiment_name."
    )
    project_name: str = Field("alfworld-sft", min_length=1, description="Name of the project in wandb.")
    experiment_name: str = Field("sft", min_length=1, description="Name of the run in wandb.")
    logger: Annotated[list[str], AfterValidator(_check_loggers)] = Field(
        ["console", "tensorboard"],
        description="Any of console, tensorboard, wandb; metrics.jsonl is always written.",
    )
    save_freq: int = Field(-1, ge=-1, description="Steps between checkpoints; -1: every epoch, 0: only at the end.")
    test_freq: int = Field(-1, ge=-1, description="Steps between validations; -1: every epoch, 0: only at the end.")
    eval_games: int = Field(0, ge=0, description="Games to play greedily at each validation; 0 plays none.")
    eval_split: Split = Field("valid_seen", description=f"Split of these games: {SPLITS_IN_WORDS}.")
    eval_source: str | None = Field(
        None, description="Source of these games, as games.source of evaluate; null: $ALFWORLD_DATA, else embedded."
    )
    eval_max_steps: int = Field(MAX_STEPS, ge=1, le=MOST_STEPS, description="Maximum steps per episode in these games.")
    eval_max_tokens: int = Field(512, ge=1, description="Maximum tokens per reply in these games.")
    eval_constrain: Constrain = Field(
        "none", description="action: in these games, actions are restricted to the admissible commands."
    )
    max_ckpt_to_keep: int | None = Field(
        None, ge=1, description="Number of newest checkpoints to keep; null keeps all."
    )
    resume_mode: str = Field(
        "auto",
        min_length=1,
        description="auto: resume from the newest complete checkpoint; disable: start anew; or a checkpoint's path.",
    )
    seed: int = Field(1, ge=0, lt=2**32, description="Seed for the order of the data and the initial adapter weights.")
    device: DeviceChoice = Field("auto", description="auto: the GPU if there is one, else the CPU.")
    processes: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = Field(
        1,
        description="Processes to start on this machine; auto: one per GPU, or per core as far as memory and the"
        " sequences of a step reach. On a CPU two processes are faster than two threads.",
    )

    @property
    def local_dir(self) -> Path:
        """The folder of the run's checkpoints and logs; `~` is expanded here, as no shell expands it after an `=`."""
        named = self.default_local_dir or f"checkpoints/{self.project_name}/{self.experiment_name}"
        return Path(named).expanduser()


class TrainerSection(RunSection):
    """The run: length, checkpoints, logging, games."""

    NEEDS: ClassVar[tuple[Needs, ...]] = (
        *RunSection.NEEDS,
        Needs(("eval_template",), lambda trainer: trainer.eval_games, "trainer.eval_games=N"),
    )

    total_epochs: int = Field(3, ge=1, description="Passes over the training data.")
    total_training_steps: int | None = Field(
        None,
        ge=1,
        description="Optimizer steps; null: as many as total_epochs has. A number counts whatever total_epochs says.",
    )
    eval_template: str | None = Field(None, description="Prompt template for these games; null: the training data's.")


class TrainingConfig(Section):
    """What determines any training run: `train` and `rl` add what they train on."""

    data: LimitsSection = LimitsSection()
    model: ModelSection = ModelSection()
    optim: OptimSection = OptimSection()
    trainer: RunSection = RunSection()

    @model_validator(mode="after")
    def _check_betas(self) -> Self:
        if not all(0 <= beta < 1 for beta in self.optim.betas):
            raise ValueError("optim.betas are two numbers from 0 to below 1, such as [0.9,0.95]")
        return self

    @property
    def local_dir(self) -> Path:
        """The folder of this run's checkpoints and logs."""
        return self.trainer.local_dir

    @property
    def longest_row(self) -> int | None:
        """Maximum tokens of a row that is trained; None: the model's context."""
        return self.data.max_length

    @property
    def token_budget(self) -> int:
        """Maximum tokens of one micro-batch."""
        return self.data.micro_batch_size_per_gpu * self.data.max_length


class TrainConfig(TrainingConfig):
    """Everything that determines a training run."""

    NEEDS: ClassVar[tuple[Needs, ...]] = (
        Needs(
            ("data.multiturn.messages_key",),
            lambda config: config.data.multiturn.enable or config.worldmodel.next_state_rows,
            "data.multiturn.enable=true",
        ),
        Needs(
            ("data.prompt_key", "data.response_key", "data.prompt_dict_keys", "data.response_dict_keys"),
            lambda config: not config.data.multiturn.enable or config.worldmodel.next_state_rows,
            "data.multiturn.enable=false",
        ),
        Needs(
            ("trainer.test_freq",),
            lambda config: config.data.val_files or config.trainer.eval_games,
            "data.val_files or trainer.eval_games",
        ),
    )

    data: DataSection = DataSection()
    loss: LossSection = LossSection()
    worldmodel: WorldModelLossSection = WorldModelLossSection()
    trainer: TrainerSection = TrainerSection()

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if not self.data.multiturn.enable and self.worldmodel.observation_loss:
            raise ValueError("worldmodel.observation_loss needs data.multiturn.enable=true")
        return self


def build_train_config(overrides: Sequence[str], *, idle: bool = False) -> TrainConfig:
    """Return the config with the overrides applied; raises ConfigError with one line per problem.

    `idle` accepts options that have no effect with the given others.
    """
    return build_config(TrainConfig, overrides, aliases=ALIASES, hints=HINTS, idle=idle)
