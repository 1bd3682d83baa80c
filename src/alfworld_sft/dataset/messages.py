"""How is a dataset's message parsed, and is it trained on? Loss flags are honoured, tool calls are refused.

Common formats mark the replies that carry loss with an extra key: OpenAI's fine-tuning files use `weight`, others
`loss`, `loss_mask`, `train`, `trainable` or `training`. A note names each key that is not read, so that nothing is
dropped silently.
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
"""Keys that, set to 0 or false, keep a reply as context without loss."""
REASONING = ("reasoning_content", "reasoning", "thinking")
"""Keys that hold the content of a reply's `<think>`."""
CALLS = ("tool_calls", "function_call")
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """A message, whether its flags allow training (True if it has none), and notes on its other keys."""

    message: Message
    trained: bool
    notes: tuple[str, ...] = ()


def parse_message(item: object, place: str) -> ParsedMessage:
    """Parse a message with a role and text content; raises DatasetError, naming `place`, for anything else."""
    if not isinstance(item, Mapping) or not {"role", "content"} <= item.keys():
        raise DatasetError(f"{place}: {short_repr(item)} is not a message with role and content")
    if item["role"] not in get_args(Role):
        raise DatasetError(f"{place}: unknown role {short_repr(item['role'])}; there are {', '.join(get_args(Role))}")
    if call := next((key for key in CALLS if not _is_absent(item.get(key))), None):
        raise DatasetError(f"{place}: '{call}' is not read; write the call into the content, as text, or drop the row")
    if not isinstance(item["content"], str):
        raise DatasetError(f"{place}: the content is {short_repr(item['content'])}, not text")
    refuse_surrogates(item["content"], place)
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


def refuse_surrogates(text: str, place: str) -> None:
    """Raise DatasetError for text with half a surrogate pair, which no tokenizer takes (JSON may escape one)."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = short_repr(text[max(0, error.start - 20) : error.end])
            raise DatasetError(f"{place}: {half} ends with half a character; replace it, or drop the row") from None


def refuse_empty(content: str, place: str) -> None:
    """Raise DatasetError for an empty reply that would be trained on."""
    if not content.strip():
        raise DatasetError(
            f"{place}: the reply is empty, and would teach the model to end at once;"
            " drop the row, or keep the reply as context with 'weight': 0"
        )


def short_repr(value: object) -> str:
    """Return a value's repr for an error message: shortened, or "missing" or "empty"."""
    text = repr(value)
    return "missing" if value is None else "empty" if value == "" else text if len(text) < 60 else f"{text[:57]}…"


def _unread_note(key: str) -> str:
    return f"the key '{key}' of a message is not read"


def _is_absent(value: object) -> bool:
    """Return whether a value is just filler: tables give every message the keys of all, with null, NaN or ""."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or value in ("", [], {})


def _flags(item: Mapping[str, object], place: str) -> dict[str, bool]:
    """Return a message's flags; raises DatasetError for one that is not a boolean, or for contradicting ones."""
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
    """Return a reply with its separate reasoning prepended as `<think>`, and a note that says so."""
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
