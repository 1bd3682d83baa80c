"""How is a server asked to restrict the action to the admissible commands (`policy.constrain=action`)?

By a regular expression for the complete reply, under the name that the server has for one. Servers without any refuse
the parameter, or ignore it: a reply that breaks the restriction shows that. A reply that was cut off before its action
is continued from there by a second request.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from alfworld_sft.policies.llm.sampling import ACTION_CLOSE, ACTION_OPEN
from alfworld_sft.prompts.tags import find_sections, parse_reply
from alfworld_sft.types import Prompt

RESTRICTIONS = ("structured_outputs", "guided_regex", "regex")
"""The parameters that restrict a reply, in the order in which they are tried: vLLM's, older vLLM's, SGLang's."""
_FREE_TAGS = ("think", "observation", "prediction")
LEADS = ("", " ", "\n", "\n\n")
"""Whitespace that may stand before a command: reading a reply ignores it, and some models are used to it."""
_LONGEST_FRAME = len(f"</observation>\n{ACTION_OPEN}{max(LEADS, key=len)}{ACTION_CLOSE}")
"""The most characters that are written around a command."""


def room_for_action(prompt: Prompt) -> int:
    """Return how many tokens may follow the free part of a reply: no token has less than a byte."""
    return _LONGEST_FRAME + max((len(command.encode()) for command in prompt.admissible_commands), default=0)


def until_action(text: str, tags: Collection[str]) -> str:
    """Return a reply that was cut off as far as its action begins: an open section is closed, the tag written."""
    sections = find_sections(text, {"think", *tags})
    last = sections[-1] if sections else None
    if last and not last.closed and last.tag == "action":
        return text[: last.start]
    closing = f"</{last.tag}>" if last and not last.closed else ""
    if not tags:
        return f"{text}{closing}\n\n" if closing else text[: last.after if last else 0]
    break_line = "\n" if closing or (text and not text.endswith("\n")) else ""
    return f"{text}{closing}{break_line}{ACTION_OPEN}"


def restriction(prompt: Prompt, refused: Collection[str], *, begun: bool = False) -> dict[str, Any]:
    """Return the first parameter that the server has not refused, with its value; empty if it has refused all.

    It restricts the complete reply, or, if its action has `begun`, what is left of it.
    """
    name = next((name for name in RESTRICTIONS if name not in refused), None)
    if name is None:
        return {}
    pattern = action_pattern(prompt) if begun else reply_pattern(prompt)
    return {name: {"regex": pattern} if name == "structured_outputs" else pattern}


def restriction_in(body: Mapping[str, Any]) -> set[str]:
    """Return the restricting parameter of a request, if there is one."""
    return body.keys() & set(RESTRICTIONS)


def reply_pattern(prompt: Prompt) -> str:
    """Return the regular expression of the replies that can be played, in the syntax that all servers share.

    Text outside the action is free but for `<`, which only the tags of closed sections may have: a regular expression
    cannot exclude a tag otherwise.
    """
    action = action_pattern(prompt)
    if not prompt.tags:
        return rf"((<think>)?[^<]*</think>[ \n]*)?{action}"
    sections = "|".join(rf"<{tag}>[^<]*</{tag}>" for tag in _FREE_TAGS)
    return rf"([^<]*</think>)?([^<]|{sections})*{ACTION_OPEN}{action}"


def action_pattern(prompt: Prompt) -> str:
    """Return the regular expression of an admissible command after one of LEADS, with its closing tag if any."""
    commands = "|".join(re.sub(r"([^\w \n])", r"\\\1", command) for command in prompt.admissible_commands)
    leads = "|".join(lead for lead in LEADS if lead)
    return rf"({leads})?({commands}){ACTION_CLOSE if prompt.tags else ''}"


def keeps_to(text: str, prompt: Prompt) -> bool:
    """Return whether a reply can be played, as the restriction demands."""
    return parse_reply(text, prompt.tags, prompt.admissible_commands).problem is None
