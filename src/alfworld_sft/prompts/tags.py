"""The tags of a reply: composing one, and reading one.

A reply is `<think>…</think><action>…</action>`, with `<prediction>` or `<observation>` in between where the template
asks for them. A template without tags takes the whole reply as the action.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Tag = Literal["observation", "think", "prediction", "action"]
Problem = Literal["empty", "no action tag", "two actions", "empty action", "not admissible"]
"""Why a reply holds no action that the game can play."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a reply says. `action` is the text between the tags; `problem` is None where the game can play it."""

    action: str | None
    problem: Problem | None
    think: str | None
    prediction: str | None
    observation: str | None


def compose_reply(tags: Collection[str], parts: Mapping[str, str]) -> str:
    """Write a reply with the given tags in their order; a part that no tag asks for is left out.

    Without tags the reply is the bare action. Raises KeyError where a tag's part is missing.
    """
    if not tags:
        return parts["action"]
    return "\n".join(f"<{tag}>{parts[tag]}</{tag}>" for tag in tags)


def parse_reply(text: str, tags: Collection[str], admissible_commands: Collection[str]) -> Parsed:
    """Read a reply; what cannot be played says why in `problem`.

    Case and spacing of the action are forgiven where that makes it admissible, as the field's environments do.
    """
    think, prediction, observation = (
        _section(text, tag) if tag in tags else None for tag in ("think", "prediction", "observation")
    )
    action, problem = _read_action(text, tags)
    if action is not None and action not in admissible_commands:
        folded = " ".join(action.lower().split())
        action, problem = (folded, None) if folded in admissible_commands else (action, "not admissible")
    return Parsed(action, problem, think, prediction, observation)


def read_sections(text: str, tags: Sequence[str]) -> dict[str, str] | None:
    """Return what stands in each tag of a reply that is nothing but its tags, each once, in their order; else None.

    No section may be empty, or hold a tag of any kind.
    """
    sections: dict[str, str] = {}
    rest = text
    for tag in tags:
        before, _, rest = rest.partition(f"<{tag}>")
        section, closed, rest = rest.partition(f"</{tag}>")
        sections[tag] = section.strip()
        if before.strip() or not closed or not sections[tag] or _ANY_TAG.search(section):
            return None
    return None if rest.strip() else sections


def replace_section(text: str, tag: str, content: str) -> str:
    """Return the reply with what stands in its first `<tag>` replaced; unchanged where there is no such tag."""
    match = _pattern(tag).search(text)
    return text if match is None else text[: match.start(1)] + content + text[match.end(1) :]


def _read_action(text: str, tags: Collection[str]) -> tuple[str | None, Problem | None]:
    if not text.strip():
        return None, "empty"
    if "action" not in tags:
        return text.strip(), None
    found = [match.strip() for match in _pattern("action").findall(text)]
    if not found:
        return None, "no action tag"
    if len(set(found)) > 1:
        return None, "two actions"
    if not found[0]:
        return None, "empty action"
    return found[0], None


def _section(text: str, tag: str) -> str | None:
    match = _pattern(tag).search(text)
    return None if match is None else match[1].strip()


_ANY_TAG = re.compile(rf"</?({'|'.join(get_args(Tag))})>")


def _pattern(tag: str) -> re.Pattern[str]:
    return re.compile(rf"<{re.escape(tag)}>(.*?)</{re.escape(tag)}>", re.DOTALL)
