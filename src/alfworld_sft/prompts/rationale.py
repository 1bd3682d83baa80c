"""How is a model asked for the reasoning behind a given action, and how is its answer parsed? Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import Template
from typing import Literal

from alfworld_sft.prompts.tags import read_sections
from alfworld_sft.types import Message, Prompt

Rejection = Literal["tags", "action", "hint"]
"""Why a reply is rejected: its tags do not parse, its action differs, or its reasoning mentions the hint."""

HINT = Template("""\
Hint, for this turn only. The best action now is:
$action
Answer in the tags that are asked for above, each exactly once and with nothing around them, and write that action word
for word. Before it, reason as one who has not been told: from the task, from what has been done and from what is seen,
to this action. Write only what can be known from there, in one to three sentences, and never speak of a hint.""")
"""Appended to the prompt. It calls itself a hint, so reasoning that gives it away contains the word."""

REASONS: dict[Rejection, str] = {
    "tags": "its tags were not as asked for",
    "action": "its action was not the one named here, word for word",
    "hint": "it spoke of the hint",
}
"""What the next request says about a rejected answer."""

_TELLTALE = re.compile(r"\bhint(s|ed)?\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rationale:
    """The text between a reply's think tags, or why the reply is rejected."""

    think: str | None
    rejection: Rejection | None


def ask_for_reason(prompt: Prompt, action: str, rejected: Rejection | None = None) -> Prompt:
    """Return the prompt with the hint, and why the previous answer was rejected, at the end of its last message."""
    hint = HINT.substitute(action=action)
    if rejected is not None:
        hint += f"\nAn answer was given already and could not be used: {REASONS[rejected]}."
    *past, last = prompt.messages
    return replace(prompt, messages=(*past, Message(last.role, f"{last.content}\n\n{hint}")))


def read_rationale(text: str, tags: Sequence[str], action: str) -> Rationale:
    """Parse a reply strictly: nothing but its tags, each once, in their order, and exactly this action."""
    sections = read_sections(text, tags)
    if sections is None:
        return Rationale(None, "tags")
    if sections["action"] != action:
        return Rationale(None, "action")
    if _TELLTALE.search(sections["think"]):
        return Rationale(None, "hint")
    return Rationale(sections["think"], None)
