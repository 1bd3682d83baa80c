"""Typed configs and the dotted overrides that fill them.

A config is a frozen pydantic model; an override is `games.split=train`, with or without Hydra's leading `+`. The type
of its key decides how its value is read (`values.py`): where a key holds text, it is the text as it stands. All errors
are reported together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from alfworld_sft.errors import ConfigError
from alfworld_sft.games.sources import EMBEDDED, GENERATE, resolve_source
from alfworld_sft.types import Form, TaskType
from alfworld_sft.usage import Prices
from alfworld_sft.values import read_value

Config = TypeVar("Config", bound=BaseModel)


class Section(BaseModel):
    """A group of keys; unknown ones are refused, and so are numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _all_as_none(value: object) -> object:
    return None if value == "all" else value


class GamesToPlay(Section):
    """Which games are played."""

    source: str | None = Field(
        None,
        description="Data folder, folder of *.tw-pddl files, one file, 'embedded' (the games of the package), or"
        " 'generate' (a new game for every episode); null: $ALFWORLD_DATA, else embedded.",
    )
    split: str = Field(description="train, valid_seen or valid_unseen.")
    task_types: list[TaskType] | None = Field(None, min_length=1, description="Only these task types; null plays all.")
    difficulty: str | float = Field(
        "normal", description="How hard the games of source=generate are: easy, normal, hard, or a number from 0 to 2."
    )


class GamesSection(GamesToPlay):
    """Which games training data comes from."""

    split: str = Field("train", description="train, valid_seen or valid_unseen.")
    allow_eval_split: bool = Field(
        False, description="Collect training data from a split that results are reported on."
    )


class EvaluatedGamesSection(GamesToPlay):
    """Which games a policy is evaluated on."""

    split: str = Field("valid_seen", description="train, valid_seen or valid_unseen.")


class EnvSection(Section):
    """How long a game may take."""

    max_steps: int = Field(50, ge=1, le=1000, description="Steps until an episode is cut off.")
    max_repeats: int | None = Field(
        None,
        ge=2,
        description="End an episode, lost, in which one command got one answer so often within four times as many"
        " steps; 8 saves the steps of those that run in circles. null: none is ended.",
    )


class PolicySection(Section):
    """Who plays."""

    name: Literal["expert", "planner", "random", "server", "local"] = Field(
        "expert",
        description="expert: reads the prompt alone; planner: shortest plan, knows everything; random; a language"
        " model at an OpenAI-compatible server, or local: in this process.",
    )
    search: Literal["prior", "sweep"] = Field(
        "prior", description="How the expert searches: where things tend to lie, or in a fixed order (short histories)."
    )
    prior: bool = Field(True, description="Let the expert's search use what lies where in train scenes.")
    noise: float = Field(0.0, ge=0, le=0.9, description="Share of actions that the expert gets wrong on purpose.")
    noise_episodes: float = Field(0.5, ge=0, le=1, description="Share of the episodes that have such noise.")
    model: str | None = Field(
        None,
        description="Model that plays: its name at the server; local: a hub name, a model's or checkpoint's folder.",
    )
    base_url: str | None = Field(
        None, description="Server's address, as http://127.0.0.1:8000/v1; null: $OPENAI_BASE_URL."
    )
    serve: str | None = Field(
        None,
        description="Start the server, too, and stop it after the run: 'vllm' (its path, and options of its own if"
        " need be), or a command line with {port} and {model}.",
    )
    serve_timeout_s: float = Field(900.0, gt=0, description="Seconds that such a server may take until it answers.")
    temperature: float | None = Field(
        0.4, ge=0, le=2, description="Sampling temperature of a model; 0 is greedy; null leaves it to the server."
    )
    top_p: float | None = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the probability that a model samples from; null leaves it to the server.",
    )
    max_tokens: int = Field(512, ge=1, description="Tokens that a reply of a model may have.")
    truncated: Literal["retry", "keep"] = Field(
        "retry", description="A server's reply that max_tokens cut off: draw again, then fail the episode; or keep it."
    )
    timeout_s: float = Field(120.0, gt=0, description="Seconds that a server may take for a reply.")
    attempts: int = Field(6, ge=1, le=100, description="Times that a server is asked for a reply, with growing pauses.")
    keep_token_ids: bool = Field(
        False, description="Keep a model's token ids and log-probabilities, where they can be had."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Type in which a local model computes; auto: bfloat16 on a GPU, float32 elsewhere."
    )
    max_batch: int = Field(64, ge=1, description="Turns that a local model answers at once.")
    price_prompt: float | None = Field(
        None, ge=0, description="Dollars for a million prompt tokens; with price_completion, what a run cost is told."
    )
    price_completion: float | None = Field(None, ge=0, description="Dollars for a million tokens of replies.")
    price_cached: float | None = Field(
        None, ge=0, description="Dollars for a million prompt tokens that the server had cached; null: price_prompt."
    )

    @property
    def prices(self) -> Prices | None:
        """What tokens cost, None where it is not known."""
        if self.price_prompt is None or self.price_completion is None:
            return None
        cached = self.price_prompt if self.price_cached is None else self.price_cached
        return Prices(self.price_prompt, self.price_completion, cached)


class CollectingPolicySection(PolicySection):
    """Who plays for a dataset."""

    rationalize: bool = Field(
        False, description="The expert acts, and the model of policy.name (server or local) writes its <think>."
    )
    rationalize_attempts: int = Field(
        3, ge=1, le=100, description="Replies that are asked for until one is taken; then the expert's own words stand."
    )


class PromptSection(Section):
    """How the policy is asked."""

    template: str = Field("default", description="default, add_wm1, add_wm2, compact, or the path of a .toml file.")
    form: Form = Field("single", description="Ask with one message a turn (single) or in a conversation (multi).")
    history_length: Annotated[int | None, BeforeValidator(_all_as_none)] = Field(
        None, ge=0, description="Past steps that a single-turn prompt shows; null or 'all' shows the whole past."
    )


class WorldModelSection(Section):
    """What stands in <prediction> of the training text."""

    predictions: Literal["grounded", "model"] = Field(
        "grounded", description="grounded: what really came next; model: the policy's own guess."
    )


class DatasetSection(Section):
    """Which episodes become rows, and how they are split."""

    require_success: bool = Field(False, description="Keep won episodes only.")
    rows_per: Literal["turn", "episode"] = Field(
        "turn",
        description="turn: a row for each action, for both kinds of training; episode: one row with the whole"
        " conversation, for multi-turn training alone, much smaller.",
    )
    val_fraction: float = Field(0.1, ge=0, le=0.5, description="Share of the rows held out, in whole games.")


class RunnerSection(Section):
    """How the episodes are played."""

    concurrency: int = Field(64, ge=1, le=10_000, description="Episodes that are played at the same time.")


class RunConfig(Section):
    """What every run has: which games, who plays them, and how."""

    seed: int = Field(42, ge=0, description="Decides the order of games and the policy's choices.")
    games: GamesToPlay
    env: EnvSection = EnvSection()
    policy: PolicySection = PolicySection()
    prompt: PromptSection = PromptSection()
    runner: RunnerSection = RunnerSection()

    @model_validator(mode="after")
    def _prices_go_together(self) -> Self:
        policy = self.policy
        priced = (policy.price_prompt, policy.price_completion, policy.price_cached) != (None, None, None)
        if priced and policy.prices is None:
            raise ValueError("a cost needs both prices: policy.price_prompt and policy.price_completion")
        return self


class CollectConfig(RunConfig):
    """Everything that decides what a collection run makes."""

    num_episodes: int | None = Field(None, ge=1, description="Episodes to play; null plays every game once.")
    seed: int = Field(42, ge=0, description="Decides the order of games, the policy's choices and the split.")
    games: GamesSection = GamesSection()
    policy: CollectingPolicySection = CollectingPolicySection()
    worldmodel: WorldModelSection = WorldModelSection()
    dataset: DatasetSection = DatasetSection()

    @model_validator(mode="after")
    def _reasons_have_a_writer(self) -> Self:
        policy = self.policy
        if policy.rationalize and policy.name not in ("server", "local"):
            raise ValueError(
                f"policy.rationalize: the expert acts, and a model writes its reasons; policy.name={policy.name} is no"
                " model: name server or local"
            )
        if policy.rationalize and policy.keep_token_ids:
            raise ValueError(
                "policy.keep_token_ids=true: with policy.rationalize a model reads a hint that is in no stored prompt,"
                " so its token ids are of no use; leave it out"
            )
        return self


class EvaluatedPolicySection(PolicySection):
    """Who plays; a reply that never ends counts as said, and is not asked for again."""

    truncated: Literal["retry", "keep"] = Field("keep", description=PolicySection.model_fields["truncated"].description)


class EvaluateConfig(RunConfig):
    """Everything that decides an evaluation."""

    games: EvaluatedGamesSection = EvaluatedGamesSection()
    policy: EvaluatedPolicySection = EvaluatedPolicySection()
    num_games: int | None = Field(
        None, ge=1, description="Play only so many games, chosen by the seed; null plays all."
    )
    repeats: int = Field(1, ge=1, le=1000, description="Times that each game is played; more than 1 gives pass@k.")


def build_config(
    model: type[Config],
    overrides: Sequence[str],
    *,
    aliases: Mapping[str, str] | None = None,
    hints: Mapping[str, str] | None = None,
) -> Config:
    """Return the config that the overrides make; later ones win.

    `aliases` are other names of keys; `hints` say what to do with keys of other tools that have no meaning here.
    Raises ConfigError, whose message has one line for each wrong override.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    aliases, hints = aliases or {}, hints or {}
    known = list(dotted_keys(model))
    for override in overrides:
        key, equals, text = override.lstrip("+").partition("=")
        key = aliases.get(key, key)
        if not equals:
            problems.append(f"'{override}' is not an option; write key=value, for example {_example(known)}")
        elif key not in known:
            problems.append(f"unknown key '{key}'; {hints.get(key) or _suggestion(key, known)}")
        else:
            try:
                _put(values, key.split("."), read_value(text, _annotation(model, key)))
            except ValueError as error:
                problems.append(f"{key}={text}: {error}")
    try:
        config = model.model_validate(values)
    except ValidationError as error:
        problems += _lines(error, values)
        raise ConfigError("\n".join(problems)) from None
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def dotted_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield every key of a config, as `games.split`."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from dotted_keys(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def key_table(model: type[BaseModel]) -> str:
    """Return a Markdown table of all keys with their defaults and meanings, for the documents."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    defaults = model()
    for key in dotted_keys(model):
        section: Any = defaults
        *path, name = key.split(".")
        for part in path:
            section = getattr(section, part)
        value = getattr(section, name)
        shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        rows.append(f"| `{key}` | `{shown}` | {type(section).model_fields[name].description} |")
    return "\n".join(rows)


def _annotation(model: type[BaseModel], key: str) -> Any:
    """Return the type of a known key."""
    *path, name = key.split(".")
    for part in path:
        section = model.model_fields[part].annotation
        assert isinstance(section, type), "what a dotted key leads through is a section"
        model = section
    return model.model_fields[name].annotation


def _suggestion(key: str, known: Sequence[str]) -> str:
    close = get_close_matches(key, known, 1) or [k for k in known if k.endswith(f".{key}")][:1]
    return f"did you mean '{close[0]}'?" if close else f"there are {', '.join(known)}"


def _example(known: Sequence[str]) -> str:
    return next((f"{key}=7" for key in known if key.endswith("seed")), f"{known[0]}=…")


def _put(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        values = values.setdefault(part, {})
    values[path[-1]] = value


def _lines(error: ValidationError, values: Mapping[str, Any]) -> list[str]:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if not key:  # a check of the config as a whole
            lines.append(problem["msg"].removeprefix("Value error, "))
            continue
        reason = problem["msg"].removeprefix("Value error, ")
        lines.append(f"{key}={problem['input']}: {reason[0].lower()}{reason[1:]}")
    return lines


def absolute_source(source: str | None) -> str:
    """Return the source meant, in words that mean the same when the run is resumed from another folder."""
    meant = str(resolve_source(source))
    return meant if meant in (EMBEDDED, GENERATE) else str(Path(meant).expanduser().absolute())
