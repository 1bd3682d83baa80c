"""The tags of a reply: composing one, and reading one.

A reply is `<think>…</think><action>…</action>`, with `<prediction>` or `<observation>` in between where the template
asks for them. A template without tags takes the full reply as the action, less the thoughts that a model or its chat
template puts before it. What stands inside one tag is that tag's text: an action in a thought is none.
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
class Parsed:
    """What a reply says. `action` is the text between the tags; `problem` is None where the game can play it."""

    action: str | None
    problem: Problem | None
    think: str | None
    prediction: str | None
    observation: str | None


@dataclass(frozen=True, slots=True)
class Section:
    """What stands in a tag: the characters [start, end) of a reply. `outer` and `after` include the tags."""

    tag: str
    start: int
    end: int
    outer: int
    after: int
    closed: bool = True


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
    sections = find_sections(text, {"think", *tags})
    think, prediction, observation = (
        _section(text, sections, tag) if tag in tags else None for tag in ("think", "prediction", "observation")
    )
    action, problem = _read_action(text, sections, tags)
    if action is not None and action not in admissible_commands:
        folded = " ".join(action.lower().split())
        action, problem = (folded, None) if folded in admissible_commands else (action, "not admissible")
    return Parsed(action, problem, think, prediction, observation)


def read_sections(text: str, tags: Sequence[str]) -> dict[str, str] | None:
    """Return what stands in each tag of a reply that is nothing but its tags, each once, in their order; else None.

    No section may be empty, or hold a tag of any kind.
    """
    sections: dict[str, str] = {}
    rest = without_empty_thought(text, tags)
    for tag in tags:
        before, _, rest = rest.partition(f"<{tag}>")
        section, closed, rest = rest.partition(f"</{tag}>")
        sections[tag] = section.strip()
        if before.strip() or not closed or not sections[tag] or _ANY_TAG.search(section):
            return None
    return None if rest.strip() else sections


def replace_section(text: str, tag: str, content: str) -> str:
    """Return the reply with what stands in its first `<tag>` replaced; unchanged where there is no such tag."""
    section = _first(text, find_sections(text), tag)
    return text if section is None else text[: section.start] + content + text[section.end :]


def find_sections(text: str, tags: Collection[str] = get_args(Tag)) -> list[Section]:
    """Return the sections of a reply in their order; none lies inside another.

    A tag that is never closed holds the rest of the reply. A `</think>` that nothing in the reply opens ends a
    thought that the prompt opened: all that stands before it is that thought.
    """
    sections = _scan(text, tags, 0)
    gaps = zip((0, *(section.after for section in sections)), (*(s.outer for s in sections), len(text)), strict=True)
    thought_end = max((text.rfind(_THINK_CLOSE, start, end) for start, end in gaps), default=-1)
    if "think" not in tags or thought_end < 0:
        return sections
    after = thought_end + len(_THINK_CLOSE)
    begun = _THINK_OPENED.match(text)
    thought = Section("think", begun.end() if begun else 0, thought_end, 0, after)
    return [thought, *(section for section in sections if section.outer >= after)]


def read_action(text: str) -> str | None:
    """Return the action of a reply of any template, or None: one that has no tags but thoughts is the bare action."""
    sections = find_sections(text)
    is_bare = all(section.tag == "think" for section in sections)
    return _read_action(text, sections, () if is_bare else ("action",))[0]


def read_section(text: str, tag: Tag) -> str | None:
    """Return what stands in the first closed section of a tag, None where there is none."""
    return _section(text, find_sections(text), tag)


def has_thought(text: str) -> bool:
    """Tell whether a reply has a thought, closed or not, also one that the prompt opened."""
    return any(section.tag == "think" for section in find_sections(text))


def unpaired_tags(text: str) -> frozenset[str]:
    """Return the tags that a reply opens and never closes, or closes and never opens."""
    sections = find_sections(text)
    alone = {section.tag for section in sections if not section.closed or section.start == section.outer}
    return frozenset(alone.union(_ANY_TAG.findall(_outside(text, sections))))


def without_tags(text: str) -> str:
    """Return a text without any tags, opening or closing; what stands between them stays."""
    return _ANY_TAG.sub("", text)


def without_empty_thought(text: str, tags: Collection[str]) -> str:
    """Return the reply as it stands in a conversation: without an empty thought that was not requested.

    Chat templates put `<think></think>` before replies (Qwen3's does), so models learn to say it. It stays where the
    template asks for `<think>` and the reply holds no other one.
    """
    empty = _EMPTY_THOUGHT.match(text)
    if empty is None or ("think" in tags and not _THINK_OPENED.match(text, empty.end())):
        return text
    return text[empty.end() :]


def _scan(text: str, tags: Collection[str], place: int) -> list[Section]:
    """Return the sections that are opened in the reply; linear in its length, whatever it holds."""
    sections: list[Section] = []
    while match := _OPENING.search(text, place):
        place = match.end()
        if match[1] not in tags:
            continue
        close = f"</{match[1]}>"
        end = text.find(close, place)
        if end < 0:
            return [*sections, Section(match[1], place, len(text), match.start(), len(text), closed=False)]
        place = end + len(close)
        sections.append(Section(match[1], match.end(), end, match.start(), place))
    return sections


def _read_action(text: str, sections: Sequence[Section], tags: Collection[str]) -> tuple[str | None, Problem | None]:
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


def _read_bare_action(text: str, sections: Sequence[Section]) -> tuple[str | None, Problem | None]:
    if any(not section.closed for section in sections):
        return None, "no action tag"
    action = _outside(text, [section for section in sections if section.tag == "think"]).strip()
    return (action, None) if action else (None, "empty action")


def _outside(text: str, sections: Sequence[Section]) -> str:
    """Return what stands in no section."""
    edges = [0, *(edge for section in sections for edge in (section.outer, section.after)), len(text)]
    return "".join(text[edges[i] : edges[i + 1]] for i in range(0, len(edges), 2))


def _first(text: str, sections: Sequence[Section], tag: str) -> Section | None:
    """Return the first closed section of a tag; a thought that says something is preferred to an empty one."""
    found = [section for section in sections if section.tag == tag and section.closed]
    if tag == "think":
        found.sort(key=lambda section: not text[section.start : section.end].strip())
    return found[0] if found else None


def _section(text: str, sections: Sequence[Section], tag: str) -> str | None:
    section = _first(text, sections, tag)
    return None if section is None else text[section.start : section.end].strip()


_THINK_CLOSE = "</think>"
_THINK_OPENED = re.compile(r"\s*<think>")
_EMPTY_THOUGHT = re.compile(r"\s*<think>\s*</think>\s*")
_OPENING = re.compile(rf"<({'|'.join(get_args(Tag))})>")
_ANY_TAG = re.compile(rf"</?({'|'.join(get_args(Tag))})>")
