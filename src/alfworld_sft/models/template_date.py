"""Which date does a chat template print? The same one every day, so that prompts do not change overnight."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger(__name__)

_DATE = {
    "%F": "2024-07-26", "%D": "07/26/24", "%x": "07/26/24", "%c": "Fri Jul 26 12:00:00 2024", "%T": "12:00:00",
    "%X": "12:00:00", "%R": "12:00", "%Y": "2024", "%y": "24", "%m": "07", "%-m": "7", "%B": "July", "%b": "Jul",
    "%h": "Jul", "%d": "26", "%-d": "26", "%e": "26", "%j": "208", "%A": "Friday", "%a": "Fri", "%u": "5", "%w": "5",
    "%H": "12", "%-H": "12", "%I": "12", "%-I": "12", "%M": "00", "%S": "00", "%p": "PM", "%Z": "UTC", "%z": "+0000",
}  # fmt: skip
"""The date in all prompts: the one that Llama's own templates use when no clock is available."""
_DATE_MACRO = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(f" | replace('{directive}', '{value}')" for directive, value in _DATE.items())
    + " }}{%- endmacro %}"
)


def fix_date(tokenizer: Any) -> None:
    """Make a template that asks for the date print the same one every day."""

    def fixed(template: str) -> str:
        if "strftime_now" not in template or template.startswith(_DATE_MACRO):
            return template
        logger.warning("the chat template prints today's date; all prompts are written as on %s", _DATE["%F"])
        return _DATE_MACRO + ("\n" if template.startswith("\n") else "") + template  # trim_blocks drops one

    known = tokenizer.chat_template
    if isinstance(known, dict):
        tokenizer.chat_template = {name: fixed(template) for name, template in known.items()}
    else:
        tokenizer.chat_template = fixed(known)
