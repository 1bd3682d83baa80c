"""How are a reply's tags composed and parsed?

A reply is `<think>…</think><action>…</action>`, with `<prediction>` or `<observation>` in between if the template
asks for them. For a template without tags, the action is the full reply without any thoughts that the model or its
chat template puts before it. Text belongs to the tag that encloses it: an action inside a thought does not count.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Tag = Literal["observation", "think", "prediction", "action"]
Problem = Literal[
    "empty", "no action tag", "two actions", "empty action", "not admissible",
    "no action", "no thought", "Chinese characters",
]  # fmt: skip
"""Why a reply holds no action that the game can play; the last three are of published formats (`formats.py`)."""


@dataclass(frozen=True, slots=True)
class ParsedReply:
    """A parsed reply. `action` is the text between the tags; `problem` is None if the game can execute it."""

    action: str | None
    problem: Problem | None
    think: str | None
    prediction: str | None
    observation: str | None


@dataclass(frozen=True, slots=True)
class TagSection:
    """A tag's content: the characters [start, end) of a reply. [outer, after) includes the tags themselves."""

    tag: str
    start: int
    end: int
    outer: int
    after: int
    closed: bool = True


def compose_reply(tags: Collection[str], parts: Mapping[str, str]) -> str:
    """Write a reply with the given tags in order; parts without a tag are left out.

    Without tags the reply is the bare action. Raises KeyError if a tag's part is missing.
    """
    if not tags:
        return parts["action"]
    return "\n".join(f"<{tag}>{parts[tag]}</{tag}>" for tag in tags)


def parse_reply(text: str, tags: Collection[str], admissible_commands: Collection[str]) -> ParsedReply:
    """Parse a reply; if the game cannot execute it, `problem` says why.

    Differences in case and spacing are ignored if that makes the action admissible, as other ALFWorld environments do.
    """
    sections = find_sections(text, {"think", *tags})
    think, prediction, observation = (
        _section_text(text, sections, tag) if tag in tags else None for tag in ("think", "prediction", "observation")
    )
    action, problem = _read_action(text, sections, tags)
    if action is not None and action not in admissible_commands:
        folded = " ".join(action.lower().split())
        action, problem = (folded, None) if folded in admissible_commands else (action, "not admissible")
    return ParsedReply(action, problem, think, prediction, observation)


def read_sections(text: str, tags: Sequence[str]) -> dict[str, str] | None:
    """Return the content of each tag if the reply is nothing but its tags, each once and in order; else None.

    No section may be empty or contain a tag.
    """
    sections: dict[str, str] = {}
    rest = strip_empty_thought(text, tags)
    for tag in tags:
        before, _, rest = rest.partition(f"<{tag}>")
        section, closed, rest = rest.partition(f"</{tag}>")
        sections[tag] = section.strip()
        if before.strip() or not closed or not sections[tag] or _ANY_TAG.search(section):
            return None
    return None if rest.strip() else sections


def replace_section(text: str, tag: Tag, content: str, tags: Collection[str] = get_args(Tag)) -> str:
    """Replace the content of the first `<tag>` of a reply to a template with these tags; without it nothing changes."""
    section = _first_section(text, find_sections(text, {"think", *tags}), tag)
    return text if section is None else text[: section.start] + content + text[section.end :]


def find_sections(text: str, tags: Collection[str] = get_args(Tag)) -> list[TagSection]:
    """Return the sections of a reply in order; sections do not nest.

    An unclosed tag extends to the end of the reply. A `</think>` without an opening tag ends a thought that the prompt
    opened: everything before it belongs to that thought.
    """
    sections = _scan_sections(text, tags, 0)
    gaps = zip((0, *(section.after for section in sections)), (*(s.outer for s in sections), len(text)), strict=True)
    thought_end = max((text.rfind(_THINK_CLOSE, start, end) for start, end in gaps), default=-1)
    if "think" not in tags or thought_end < 0:
        return sections
    after = thought_end + len(_THINK_CLOSE)
    begun = _THINK_OPENED.match(text)
    thought = TagSection("think", begun.end() if begun else 0, thought_end, 0, after)
    return [thought, *(section for section in sections if section.outer >= after)]


def read_tagged_action(text: str) -> str | None:
    """Return the action of a reply in tags, or None; a reply with no tags but `<think>` is a bare action."""
    sections = find_sections(text)
    is_bare = all(section.tag == "think" for section in sections)
    return _read_action(text, sections, () if is_bare else ("action",))[0]


def read_section(text: str, tag: Tag) -> str | None:
    """Return the content of a tag's first closed section, or None if there is none."""
    return _section_text(text, find_sections(text), tag)


def has_thought(text: str) -> bool:
    """Return whether a reply has a thought, closed or not, including one that the prompt opened."""
    return any(section.tag == "think" for section in find_sections(text))


def unpaired_tags(text: str) -> frozenset[str]:
    """Return the tags that are opened but not closed, or closed but not opened."""
    sections = find_sections(text)
    alone = {section.tag for section in sections if not section.closed or section.start == section.outer}
    return frozenset(alone.union(_ANY_TAG.findall(_text_outside(text, sections))))


def strip_tags(text: str) -> str:
    """Remove all opening and closing tags from a text, but not their content."""
    return _ANY_TAG.sub("", text)


def strip_empty_thought(text: str, tags: Collection[str]) -> str:
    """Return the reply as a conversation keeps it: without an empty thought that was not requested.

    Some chat templates put `<think></think>` before replies (Qwen3's does), so models learn to write it. It stays if
    the template asks for `<think>` and the reply has no other.
    """
    empty = _EMPTY_THOUGHT.match(text)
    if empty is None or ("think" in tags and not _THINK_OPENED.match(text, empty.end())):
        return text
    return text[empty.end() :]


def _scan_sections(text: str, tags: Collection[str], position: int) -> list[TagSection]:
    """Return the sections opened from `position` on, in time linear in the length of any reply."""
    sections: list[TagSection] = []
    while match := _OPENING.search(text, position):
        position = match.end()
        if match[1] not in tags:
            continue
        close = f"</{match[1]}>"
        end = text.find(close, position)
        if end < 0:
            return [*sections, TagSection(match[1], position, len(text), match.start(), len(text), closed=False)]
        position = end + len(close)
        sections.append(TagSection(match[1], match.end(), end, match.start(), position))
    return sections


def _read_action(text: str, sections: Sequence[TagSection], tags: Collection[str]) -> tuple[str | None, Problem | None]:
    if not text.strip():
        return None, "empty"
    if "action" not in tags:
        return _read_bare_action(text, sections)
    found = [text[s.start : s.end].strip() for s in sections if s.tag == "action" and s.closed]
    if not found:
        return None, "no action tag"
    if len(set(found)) > 1:
        return None, "two actions"
    if not found[0]:
        return None, "empty action"
    return found[0], None


def _read_bare_action(text: str, sections: Sequence[TagSection]) -> tuple[str | None, Problem | None]:
    if any(not section.closed for section in sections):
        return None, "no action tag"
    action = _text_outside(text, [section for section in sections if section.tag == "think"]).strip()
    return (action, None) if action else (None, "empty action")


def _text_outside(text: str, sections: Sequence[TagSection]) -> str:
    """Return the text outside all sections."""
    edges = [0, *(edge for section in sections for edge in (section.outer, section.after)), len(text)]
    return "".join(text[edges[i] : edges[i + 1]] for i in range(0, len(edges), 2))


def _first_section(text: str, sections: Sequence[TagSection], tag: str) -> TagSection | None:
    """Return the first closed section of a tag; a non-empty thought is preferred to an empty one."""
    found = [section for section in sections if section.tag == tag and section.closed]
    if tag == "think":
        found.sort(key=lambda section: not text[section.start : section.end].strip())
    return found[0] if found else None


def _section_text(text: str, sections: Sequence[TagSection], tag: str) -> str | None:
    section = _first_section(text, sections, tag)
    return None if section is None else text[section.start : section.end].strip()


_THINK_CLOSE = "</think>"
_THINK_OPENED = re.compile(r"\s*<think>")
_EMPTY_THOUGHT = re.compile(r"\s*<think>\s*</think>\s*")
_OPENING = re.compile(rf"<({'|'.join(get_args(Tag))})>")
_ANY_TAG = re.compile(rf"</?({'|'.join(get_args(Tag))})>")
