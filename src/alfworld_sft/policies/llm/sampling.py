"""How a language model is sampled, and where its reply ends: the same at a server and in this process."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from alfworld_sft.prompts.formats import FORMATS
from alfworld_sft.prompts.tags import find_sections
from alfworld_sft.types import Prompt

ACTION_CLOSE = "</action>"


@dataclass(frozen=True, slots=True)
class Sampling:
    """What decides a reply beside the model, the prompt and its seed. A temperature of 0 is greedy.

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
        """Return it for a run's stamp, with what is fixed here and what other tools leave to a model's own config."""
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": None,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "max_tokens": self.max_tokens,
            "stop": ACTION_CLOSE,
        }


def stop_of(prompt: Prompt) -> str | None:
    """Return the words that end a reply, or None where only the end of the turn does."""
    if prompt.reply_format != "tags":
        return FORMATS[prompt.reply_format].stop
    return ACTION_CLOSE if "action" in prompt.tags else None


def cut_reply(text: str, prompt: Prompt, *, stopped: bool = True) -> str:
    """Return a reply up to its end, as its format has it; see `end_reply` for tags."""
    if prompt.reply_format != "tags":
        return text[: FORMATS[prompt.reply_format].end(text)]
    return end_reply(text, prompt.tags, stopped=stopped)


def has_ended(text: str, prompt: Prompt) -> bool:
    """Return whether what has been said of a reply is all that counts."""
    if prompt.reply_format != "tags":
        return FORMATS[prompt.reply_format].end(text) is not None
    return find_reply_end(text, prompt.tags) is not None


def end_reply(text: str, tags: Collection[str], *, stopped: bool = True) -> str:
    """Return a reply up to its closing tag, and with it.

    What was said after the tag is cut off; a tag inside of a thought, say, closes nothing. Where the reply `stopped`
    inside of an action, the stop string has been dropped from it, as most servers do; then it is put back.
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
    """Return where the first closing tag of an action that stands in no other section ends, or None."""
    start = 0
    for section in find_sections(text, {"think", *tags}):
        if (at := text.find(ACTION_CLOSE, start, section.outer)) >= 0:
            return at + len(ACTION_CLOSE)
        if section.tag == "action" and section.closed:
            return section.after
        start = section.after
    at = text.find(ACTION_CLOSE, start)
    return None if at < 0 else at + len(ACTION_CLOSE)
