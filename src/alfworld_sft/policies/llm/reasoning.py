"""Where does a server put reasoning that it separates from the text, and where does it belong? Pure.

vLLM, SGLang, DeepSeek and llama.cpp use `reasoning_content`; newer vLLM, Ollama and OpenRouter `reasoning`; Mistral and
Anthropic return the content as a list of parts, some of them thinking.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeAlias

from alfworld_sft.prompts.tags import has_thought, strip_tags

PlaceOfReasoning: TypeAlias = Literal["nowhere", "thought", "apart"]
"""Where a reply's separate reasoning goes: there is none, into its <think>, or beside its text."""

_FIELDS = ("reasoning_content", "reasoning", "thinking")
_PART_KEYS = ("thinking", "reasoning", "text")


def read_message(message: Mapping[str, Any]) -> tuple[object, str]:
    """Return a message's content, its text parts joined, and its reasoning ("" if it has none).

    The content of a refusal is the refusal's text.
    """
    reasoning = next(filter(None, (_text_of(message.get(name)) for name in _FIELDS)), "")
    content = message.get("content")
    if isinstance(content, list):
        thought = "".join(
            _text_of([part[key] for key in _PART_KEYS if part.get(key)][:1]) for part in _thoughts(content)
        )
        return "".join(_text_of(part) for part in content if not _is_thinking(part)), reasoning or thought
    if content is None and isinstance(message.get("refusal"), str):
        return message["refusal"], reasoning
    return content, reasoning


def with_reasoning(text: str, reasoning: str, tags: Collection[str], *, ended: bool = True) -> tuple[str, str | None]:
    """Return the reply with its reasoning in <think>, and any reasoning to store separately, or None.

    Tags within the reasoning would be parsed as the reply's own: they are removed there, and the original is kept as
    well. A thought that has not `ended` is not closed.
    """
    if not reasoning:
        return text, None
    if not becomes_thought(text, tags):
        return text, reasoning
    plain = strip_tags(reasoning).strip()
    close = "</think>\n" if ended else ""
    return f"<think>{plain}{close}{text.lstrip()}", None if plain == reasoning.strip() else reasoning


def becomes_thought(text: str, tags: Collection[str]) -> bool:
    """Return whether reasoning belongs in <think>: the template asks for one, and the reply's text has none."""
    return "think" in tags and not has_thought(text)


def _is_thinking(part: object) -> bool:
    return isinstance(part, dict) and str(part.get("type", "text")) not in ("text", "output_text", "refusal")


def _thoughts(parts: list[object]) -> list[dict[str, Any]]:
    return [part for part in parts if isinstance(part, dict) and _is_thinking(part)]


def _text_of(value: object) -> str:
    """Return the text of a field or part: a string, or a list of parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(_text_of, value))
    return _text_of(value.get("text") or value.get("refusal")) if isinstance(value, dict) else ""
