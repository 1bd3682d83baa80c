"""How is a server asked to restrict the action to the admissible commands (`policy.constrain=action`)?

By a regular expression for the complete reply, under the name that the server has for one. Servers without any refuse
the parameter, or ignore it: a reply that breaks the restriction shows that.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from alfworld_sft.prompts.tags import parse_reply
from alfworld_sft.types import Prompt

RESTRICTIONS = ("structured_outputs", "guided_regex", "regex")
"""The parameters that restrict a reply, in the order in which they are tried: vLLM's, older vLLM's, SGLang's."""
_FREE_TAGS = ("think", "observation", "prediction")


def restriction(prompt: Prompt, refused: Collection[str]) -> dict[str, Any]:
    """Return the first parameter that the server has not refused, with its value; empty if it has refused all."""
    name = next((name for name in RESTRICTIONS if name not in refused), None)
    if name is None:
        return {}
    pattern = reply_pattern(prompt)
    return {name: {"regex": pattern} if name == "structured_outputs" else pattern}


def restriction_in(body: Mapping[str, Any]) -> set[str]:
    """Return the restricting parameter of a request, if there is one."""
    return body.keys() & set(RESTRICTIONS)


def reply_pattern(prompt: Prompt) -> str:
    """Return the regular expression of the replies that can be played, in the syntax that all servers share.

    Text outside the action is free but for `<`, which only the tags of closed sections may have: a regular expression
    cannot exclude a tag otherwise.
    """
    commands = "|".join(re.sub(r"([^\w \n])", r"\\\1", command) for command in prompt.admissible_commands)
    if not prompt.tags:
        return rf"(<think>[^<]*</think>[ \n]*)?({commands})"
    sections = "|".join(rf"<{tag}>[^<]*</{tag}>" for tag in _FREE_TAGS)
    return rf"([^<]*</think>)?([^<]|{sections})*<action>({commands})</action>"


def keeps_to(text: str, prompt: Prompt) -> bool:
    """Return whether a reply can be played, as the restriction demands."""
    return parse_reply(text, prompt.tags, prompt.admissible_commands).problem is None
