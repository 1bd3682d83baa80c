"""Typed configs and the dotted overrides that fill them.

A config is a frozen pydantic model; an override is `games.split=train`, with or without Hydra's leading `+`. The type
of its key decides how its value is read (`values.py`): where a key holds text, it is the text as it stands. A key that
has no effect beside the others is refused where it is named (`Section.NEEDS`), not where a default or a stored config
holds it. All errors are reported together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import reduce
from typing import Any, ClassVar, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from alfworld_sft.errors import ConfigError
from alfworld_sft.values import read_value


class Needs(NamedTuple):
    """Keys of a section that have an effect only where `met` holds for it, and the option that makes it hold.

    A value that switches its key off (0, false, null) is never refused, nor is one of `harmless`: what happens anyway.
    """

    keys: Sequence[str]
    met: Callable[[Any], object]
    option: str
    harmless: Collection[object] = ()


class Section(BaseModel):
    """A group of keys; unknown ones are refused, and so are numbers that are not finite.

    `NEEDS` says which keys have an effect only beside others; keys are named as seen from the section.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    NEEDS: ClassVar[tuple[Needs, ...]] = ()


Config = TypeVar("Config", bound=Section)


def build_config(
    model: type[Config],
    overrides: Sequence[str],
    *,
    aliases: Mapping[str, str] | None = None,
    hints: Mapping[str, str] | None = None,
    presets: Mapping[str, Any] | None = None,
    idle: bool = False,
) -> Config:
    """Return the config that the overrides make; later ones win.

    `aliases` are other names of keys; `hints` say what to do with keys of other tools that have no meaning here.
    `presets` are values that stand in for the defaults of their keys.
    `idle` takes options that have no effect beside the others. Raises ConfigError, whose message has one line for each
    wrong override.
    """
    problems: list[str] = []
    given: dict[str, str] = {}
    values: dict[str, Any] = {}
    aliases, hints = aliases or {}, hints or {}
    known = list(dotted_keys(model))
    for key, value in (presets or {}).items():
        _put(values, key.split("."), value)
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
                given[key] = text
            except ValueError as error:
                problems.append(f"{key}={text}: {error}")
    try:
        config = model.model_validate(values)
    except ValidationError as error:
        problems += _lines(error, values)
        raise ConfigError("\n".join(problems)) from None
    problems += [] if idle else idle_options(config, given)
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def idle_options(config: Section, given: Mapping[str, str]) -> list[str]:
    """Return a line for each given option (key → its text) that has no effect beside the others."""
    idle: dict[str, str] = {}
    for prefix, section in _sections(config):
        for need in section.NEEDS:
            for key in [] if need.met(section) else need.keys:
                value = value_of(section, key)
                if f"{prefix}{key}" in given and value and value not in need.harmless:
                    idle.setdefault(f"{prefix}{key}", need.option)
    return [
        f"{key}={given[key]} has no effect without {option}; add that, or leave it out" for key, option in idle.items()
    ]


def value_of(section: Section, key: str) -> Any:
    """Return the value of a dotted key."""
    value: Any = section
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _sections(config: Section, prefix: str = "") -> Iterator[tuple[str, Section]]:
    """Yield a config and all its sections, each with what stands before its keys."""
    yield prefix, config
    for name in type(config).model_fields:
        section = getattr(config, name)
        if isinstance(section, Section):
            yield from _sections(section, f"{prefix}{name}.")


def dotted_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield every key of a config, as `games.split`."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from dotted_keys(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def key_table(model: type[Section]) -> str:
    """Return a Markdown table of all keys with their defaults and meanings, for the documents."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    defaults = model()
    for key in dotted_keys(model):
        parent, _, name = key.rpartition(".")
        section = value_of(defaults, parent) if parent else defaults
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
    begun = [k for k in known if k.startswith(key)]
    last = [k for k in known if k.endswith(f".{key}")]
    close = begun if len(begun) == 1 else get_close_matches(key, known, 1) or last[:1]
    return f"did you mean '{close[0]}'?" if close else f"there are {', '.join(known)}"


def _example(known: Sequence[str]) -> str:
    return next((f"{key}=7" for key in known if key.endswith("seed")), f"{known[0]}=…")


def _put(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        values = values.setdefault(part, {})
    values[path[-1]] = value


def _meant_word(problem: Any) -> str:
    """Return the word that a wrong one may have been meant for, as the end of its line."""
    words = re.findall("'([^']*)'", problem.get("ctx", {}).get("expected", ""))
    close = get_close_matches(str(problem["input"]), words, 1) if problem["type"] == "literal_error" else []
    return f"; did you mean '{close[0]}'?" if close else ""


def _lines(error: ValidationError, values: Mapping[str, Any]) -> list[str]:
    """Return a line for each key with a wrong value, which says all that is wrong with it."""
    lines: list[str] = []
    wrong: dict[str, list[Any]] = {}
    for problem in error.errors():
        if problem["loc"]:
            wrong.setdefault(_key_in(problem["loc"], values), []).append(problem)
        else:  # a check of the config as a whole
            lines.append(_reason(problem))
    for key, problems in wrong.items():
        value = reduce(lambda section, name: section.get(name, {}), key.split("."), values)
        first, *others = dict.fromkeys(map(_reason, problems))
        either = [one.removeprefix("Input should be ") for one in others]
        reason = ", or ".join([f"{first[0].lower()}{first[1:]}", *either])
        lines.append(f"{key}={value}: {reason}{''.join(map(_meant_word, problems))}")
    return lines


def _key_in(path: Sequence[int | str], values: Mapping[str, Any]) -> str:
    """Return the key that a problem's path leads to or through: beyond it are elements, and types of a value."""
    names: list[str] = []
    value: Any = values
    for name in path:
        if not isinstance(value, Mapping):
            break
        names.append(str(name))
        value = value.get(name)
    return ".".join(names)


def _reason(problem: Any) -> str:
    return "it has too few values" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, ")
