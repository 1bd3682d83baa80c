"""Typed configs and the dotted overrides that fill them.

A config is a frozen pydantic model; an override is `games.split=train`, with or without Hydra's leading `+`. Values
are read as YAML, so numbers, `true`, `null` and `[a, b]` mean what they seem to. All errors are reported together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from alfworld_sft.errors import ConfigError
from alfworld_sft.types import Form, TaskType

Config = TypeVar("Config", bound=BaseModel)


class Section(BaseModel):
    """A group of keys; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _all_as_none(value: object) -> object:
    return None if value == "all" else value


class GamesSection(Section):
    """Which games are played."""

    source: str | None = Field(None, description="Data folder, folder of *.tw-pddl files, or one file.")
    split: str = Field("train", description="train, valid_seen or valid_unseen.")
    allow_eval_split: bool = Field(
        False, description="Collect training data from a split that results are reported on."
    )
    task_types: list[TaskType] | None = Field(None, min_length=1, description="Only these task types; null plays all.")


class EnvSection(Section):
    """How long a game may take."""

    max_steps: int = Field(50, ge=1, le=1000, description="Steps until an episode is cut off.")


class PolicySection(Section):
    """Who plays."""

    name: Literal["expert", "planner", "random"] = Field(
        "expert", description="expert: reads the prompt alone; planner: shortest plan, knows everything; random."
    )
    search: Literal["prior", "sweep"] = Field(
        "prior", description="How the expert searches: where things tend to lie, or in a fixed order (short histories)."
    )
    prior: bool = Field(True, description="Let the expert's search use what lies where in train scenes.")
    noise: float = Field(0.0, ge=0, le=0.9, description="Share of actions that the expert gets wrong on purpose.")
    noise_episodes: float = Field(0.5, ge=0, le=1, description="Share of the episodes that have such noise.")


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
    val_fraction: float = Field(0.1, ge=0, le=0.5, description="Share of the rows held out, in whole games.")


class RunnerSection(Section):
    """How the episodes are played."""

    concurrency: int = Field(64, ge=1, le=10_000, description="Episodes that are played at the same time.")


class CollectConfig(Section):
    """Everything that decides what a collection run makes."""

    num_episodes: int | None = Field(None, ge=1, description="Episodes to play; null plays every game once.")
    seed: int = Field(42, ge=0, description="Decides the order of games, the policy's choices and the split.")
    games: GamesSection = GamesSection()
    env: EnvSection = EnvSection()
    policy: PolicySection = PolicySection()
    prompt: PromptSection = PromptSection()
    worldmodel: WorldModelSection = WorldModelSection()
    dataset: DatasetSection = DatasetSection()
    runner: RunnerSection = RunnerSection()


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
            _put(values, key.split("."), _read_value(text))
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


def _suggestion(key: str, known: Sequence[str]) -> str:
    close = get_close_matches(key, known, 1) or [k for k in known if k.endswith(f".{key}")][:1]
    return f"did you mean '{close[0]}'?" if close else f"there are {', '.join(known)}"


def _example(known: Sequence[str]) -> str:
    return next((f"{key}=7" for key in known if key.endswith("seed")), f"{known[0]}=…")


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain values, as in Hydra: a name such as 2024-12-11 or 20241211_143022 stays text, 5e-4 is a number."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"~|null|Null|NULL|"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?i:true|false)"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][0-9]*)\Z"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z"),
    list("-+.0123456789"),
)


def _read_value(text: str) -> Any:
    try:
        return yaml.load(text, _Loader) if text else None  # noqa: S506 - a safe loader with fewer types
    except yaml.YAMLError:
        return text


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


def absolute_source(source: str | None) -> str | None:
    """Return a source that still means the same when the run is resumed from another folder."""
    return None if source is None else str(Path(source).expanduser().absolute())
