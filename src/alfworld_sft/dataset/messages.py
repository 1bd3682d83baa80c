"""One message of a dataset → `Message`, and whether it is to be trained: flags are honoured, calls are refused.

Formats of the field mark the replies that carry loss with a key of their own: OpenAI's fine-tuning files with
`weight`, others with `loss`, `loss_mask`, `train`, `trainable` or `training`. A key that is not read is named in a
note, so that nothing is left out in silence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from alfworld_sft.errors import DatasetError
from alfworld_sft.prompts.tags import has_thought
from alfworld_sft.types import Message, Role

FLAGS = ("weight", "loss", "loss_mask", "train", "trainable", "training")
"""Keys whose 0 or false keeps a reply as context without loss."""
REASONING = ("reasoning_content", "reasoning", "thinking")
"""Keys that hold what a reply's `<think>` would."""
CALLS = ("tool_calls", "function_call")
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """A message, whether its flags let it be trained (True where it has none), and what to say of its other keys."""

    message: Message
    trained: bool
    notes: tuple[str, ...] = ()


def parse_message(item: object, place: str) -> ParsedMessage:
    """Return a message with role and content as text; raises DatasetError, which names `place`, for any other."""
    if not isinstance(item, Mapping) or not {"role", "content"} <= item.keys():
        raise DatasetError(f"{place}: {short_repr(item)} is not a message with role and content")
    if item["role"] not in get_args(Role):
        raise DatasetError(f"{place}: unknown role {short_repr(item['role'])}; there are {', '.join(get_args(Role))}")
    if call := next((key for key in CALLS if not _is_absent(item.get(key))), None):
        raise DatasetError(f"{place}: '{call}' is not read; write the call into the content, as text, or drop the row")
    if not isinstance(item["content"], str):
        raise DatasetError(f"{place}: the content is {short_repr(item['content'])}, not text")
    if len(item) == 2:  # nothing else to read, as in our own datasets
        return ParsedMessage(Message(item["role"], item["content"]), trained=True)
    flags = _flags(item, place)
    others = {key: value for key, value in item.items() if not _is_absent(value)}
    for key in ("role", "content", *FLAGS, *CALLS):
        others.pop(key, None)
    if item["role"] != "assistant":
        notes = [
            f"'{key}' of a {item['role']} message has no effect: only replies are trained"
            for key in flags
            if flags[key]
        ]
        notes += [_unread_note(key) for key in others]
        return ParsedMessage(Message(item["role"], item["content"]), trained=True, notes=tuple(notes))
    reasoning = {key: others.pop(key) for key in REASONING if key in others}
    content, notes = _prepend_reasoning(item["content"], reasoning, place)
    notes += [_unread_note(key) for key in others]
    return ParsedMessage(Message("assistant", content), trained=all(flags.values()), notes=tuple(notes))


def refuse_empty(content: str, place: str) -> None:
    """Raise DatasetError for a reply that would be trained although it says nothing."""
    if not content.strip():
        raise DatasetError(
            f"{place}: the reply is empty, and would teach the model to end at once;"
            " drop the row, or keep the reply as context with 'weight': 0"
        )


def short_repr(value: object) -> str:
    """Return a value as a message shows it: in short, or as missing or empty."""
    text = repr(value)
    return "missing" if value is None else "empty" if value == "" else text if len(text) < 60 else f"{text[:57]}…"


def _unread_note(key: str) -> str:
    return f"the key '{key}' of a message is not read"


def _is_absent(value: object) -> bool:
    """Return whether a key says nothing: tables give every message the keys of all, filled with null, NaN or ""."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or value in ("", [], {})


def _flags(item: Mapping[str, object], place: str) -> dict[str, bool]:
    """Return the flags of a message; raises DatasetError for one that is neither yes nor no, or two that differ."""
    flags = {key: _flag(item[key], key, place) for key in FLAGS if not _is_absent(item.get(key))}
    if len(set(flags.values())) > 1:
        said = " and ".join(f"'{key}': {short_repr(item[key])}" for key in flags)
        raise DatasetError(f"{place}: {said} contradict each other; keep one of them")
    return flags


def _flag(value: object, key: str, place: str) -> bool:
    text = str(value).strip().lower()
    if not isinstance(value, bool | int | float | str) or text not in (*_YES, *_NO):
        raise DatasetError(
            f"{place}: '{key}' is {short_repr(value)}; it must be 1 (trained) or 0 (context without loss)"
        )
    return text in _YES


def _prepend_reasoning(content: str, reasoning: Mapping[str, object], place: str) -> tuple[str, list[str]]:
    """Return a reply with the reasoning that stands beside it in front, as `<think>`, and a note that says so."""
    texts: dict[str, str] = {}
    for key, value in reasoning.items():
        if not isinstance(value, str):
            raise DatasetError(f"{place}: '{key}' is {short_repr(value)}, not text")
        if value.strip():
            texts[key] = value.strip()
    if not texts:
        return content, []
    key, text = next(iter(texts.items()))
    if len(set(texts.values())) > 1:
        raise DatasetError(f"{place}: {' and '.join(map(repr, texts))} differ; keep one of them")
    if has_thought(content):
        if text in content:
            return content, []
        raise DatasetError(f"{place}: '{key}' and the <think> of the content differ; keep one of them")
    return f"<think>{text}</think>\n{content}", [f"'{key}' is read as <think>…</think> before the reply"]
