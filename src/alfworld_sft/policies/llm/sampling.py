"""How is a language model sampled, and where does its reply end? The same on a server and in this process."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from alfworld_sft.prompts.formats import FORMATS
from alfworld_sft.prompts.tags import find_sections
from alfworld_sft.prompts.template import Template
from alfworld_sft.types import Prompt

ACTION_OPEN, ACTION_CLOSE = "<action>", "</action>"


@dataclass(frozen=True, slots=True)
class Sampling:
    """Everything that determines a reply besides the model, the prompt and its seed. A temperature of 0 is greedy.

    A temperature or top_p of None is left to the server.
    """

    temperature: float | None = 0.4
    top_p: float | None = 1.0
    max_tokens: int = 512

    @property
    def left_out(self) -> frozenset[str]:
        """The parameters that are left to the server."""
        return frozenset(name for name in ("temperature", "top_p") if getattr(self, name) is None)

    def as_dict(self) -> dict[str, object]:
        """Return the parameters for a run's stamp, including those fixed here rather than left to a model's config.

        Where a reply stops follows from the template (`stop_of`).
        """
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": None,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "max_tokens": self.max_tokens,
        }


def stop_of(asked: Prompt | Template) -> str | None:
    """Return the stop string of the replies to a prompt or template; None if only the end of the turn ends them."""
    if asked.reply_format != "tags":
        return FORMATS[asked.reply_format].stop
    return ACTION_CLOSE if "action" in asked.tags else None


def cut_reply(text: str, prompt: Prompt, *, stopped: bool = True) -> str:
    """Cut a reply at its end, as its format defines it; see `end_reply` for tags."""
    if prompt.reply_format != "tags":
        return text[: FORMATS[prompt.reply_format].end(text)]
    return end_reply(text, prompt.tags, stopped=stopped)


def has_ended(text: str, prompt: Prompt) -> bool:
    """Return whether a partial reply already contains everything that counts."""
    if prompt.reply_format != "tags":
        return FORMATS[prompt.reply_format].end(text) is not None
    return find_reply_end(text, prompt.tags) is not None


def end_reply(text: str, tags: Collection[str], *, stopped: bool = True) -> str:
    """Cut a reply after its closing tag.

    Text after the tag is dropped; a tag inside another section, such as a thought, closes nothing. If the reply
    `stopped` inside an action, most servers have removed the stop string; it is then restored.
    """
    if "action" not in tags:
        return text
    end = find_reply_end(text, tags)
    if end is not None:
        return text[:end]
    last = find_sections(text, {"think", *tags})[-1:]
    is_dropped = stopped and any(section.tag == "action" and not section.closed for section in last)
    return text + ACTION_CLOSE if is_dropped else text


def find_reply_end(text: str, tags: Collection[str]) -> int | None:
    """Return the end of the first closing action tag that is not inside another section, or None."""
    start = 0
    for section in find_sections(text, {"think", *tags}):
        if (at := text.find(ACTION_CLOSE, start, section.outer)) >= 0:
            return at + len(ACTION_CLOSE)
        if section.tag == "action" and section.closed:
            return section.after
        start = section.after
    at = text.find(ACTION_CLOSE, start)
    return None if at < 0 else at + len(ACTION_CLOSE)
