"""How is a reply written, cut, parsed and answered in each format that a template may ask for?

`tags` is this package's own (`tags.py`). The others are those of published protocols, with the rules that their own
programs apply, so that one reply is the same action here and there:

- `verl-agent`: its projection. The reply is lower-cased; the action stands between the first `<action>` and the first
  `</action>`, wherever they stand; without both, the last 30 characters are sent. A reply without `<think>`, or with
  Chinese characters, is a breach of the format, but its action is played.
- `trinity`: from the first `<action>` to the next tag of an action, or to the end. Case is left as it is.
- `eto`: all that follows the first `Action:`; without that word nothing is sent, and the game's answer says so.
- `react`: the first line is the action. `think: …` is a step that is answered `OK.`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from alfworld_sft.prompts.tags import (
    ParsedReply,
    Problem,
    compose_reply,
    find_sections,
    parse_reply,
    read_tagged_action,
    replace_section,
)
from alfworld_sft.types import ReplyFormat
from alfworld_sft.world.language import ARRIVED, NOTHING_HAPPENS, read_sentence

THOUGHT = "think:"
"""How a line of ReAct begins that thinks instead of acting."""
THOUGHT_NOTED = "OK."
"""What ReAct answers a thought."""
ACTION_MISSING = "Nothing was done: a reply must contain 'Action: ' with the action after it."
TRY_ANOTHER = "The command may be impossible here, or not be in the form that was asked for."
_LAST_CHARACTERS = 30
_CHINESE = re.compile("[\u4e00-\u9fff]")

Parse = Callable[[str, Collection[str]], ParsedReply]
Answer = Callable[[ParsedReply, str], str]


@dataclass(frozen=True, slots=True)
class Format:
    """What a format does with replies.

    `compose` writes a reply from its parts, `parse` reads one beside the admissible commands, `answer` gives what the
    policy is shown of the game's answer. `end` is the number of characters up to which a reply counts, None for all of
    it or as long as it has not ended; `stop` is the string at which a model stops, None for the end of its turn.
    """

    compose: Callable[[Mapping[str, str]], str]
    parse: Parse
    answer: Answer
    stop: str | None = None
    end: Callable[[str], int | None] = lambda _: None


def write_reply(reply_format: ReplyFormat, tags: Collection[str], parts: Mapping[str, str]) -> str:
    """Write a reply from its parts; raises KeyError where one is missing."""
    return compose_reply(tags, parts) if reply_format == "tags" else FORMATS[reply_format].compose(parts)


def with_action(reply_format: ReplyFormat, text: str, tags: Collection[str], command: str) -> str:
    """Return a reply with another action, and the text before it as it was."""
    if reply_format == "eto":
        before, word, _ = text.partition("Action:")
        return f"{before}{word} {command}"
    if reply_format == "react":
        return command
    if "action" not in tags:
        thoughts = find_sections(text, ("think",))
        begin = thoughts[-1].after if thoughts else 0
        return text[:begin] + text[begin : len(text) - len(text[begin:].lstrip())] + command
    return replace_section(text, "action", command, tags)


def read_action(text: str, reply_format: ReplyFormat = "tags") -> str | None:
    """Return the action of a reply, or None; without tags, or an "Action:" before it, all of it is one."""
    if reply_format == "tags" and "Action:" in text and not find_sections(text):
        reply_format = "eto"  # from a template whose name does not tell
    return read_tagged_action(text) if reply_format == "tags" else FORMATS[reply_format].parse(text, ()).action


def read_reply(reply_format: ReplyFormat, text: str, tags: Collection[str], admissible: Collection[str]) -> ParsedReply:
    """Read a reply; what cannot be played, or breaks the format, says why in `problem`."""
    return (
        parse_reply(text, tags, admissible) if reply_format == "tags" else FORMATS[reply_format].parse(text, admissible)
    )


def shown_answer(reply_format: ReplyFormat, parsed: ParsedReply, answer: str) -> str:
    """Return what the policy is shown after a reply, given the game's own answer to it."""
    return answer if reply_format == "tags" else FORMATS[reply_format].answer(parsed, answer)


def _judged(action: str, admissible: Collection[str], breach: Problem | None = None) -> ParsedReply:
    problem: Problem | None = breach or (None if action in admissible else "not admissible")
    return ParsedReply(action, problem if action else "empty action", None, None, None)


def _parse_projected(text: str, admissible: Collection[str]) -> ParsedReply:
    lowered = text.lower()
    start, end = lowered.find("<action>"), lowered.find("</action>")
    if start < 0 or end < 0:
        return ParsedReply(lowered[-_LAST_CHARACTERS:], "no action tag", None, None, None)
    breach: Problem | None = None
    if "<think>" not in text or "</think>" not in text:
        breach = "no thought"
    elif _CHINESE.search(text):
        breach = "Chinese characters"
    return _judged(lowered[start + len("<action>") : end].strip(), admissible, breach)


def _parse_first_action(text: str, admissible: Collection[str]) -> ParsedReply:
    _, opened, rest = text.partition("<action>")
    if not opened:
        return ParsedReply(None, "no action tag", None, None, None)
    return _judged(rest.split("<action>")[0].split("</action>")[0].strip(), admissible)


def _parse_thought_and_action(text: str, admissible: Collection[str]) -> ParsedReply:
    _, opened, rest = text.strip().partition("Action:")
    if not opened:
        return ParsedReply(None, "no action", None, None, None)
    return _judged(rest.removeprefix("\n") if rest[:1] == "\n" else rest.removeprefix(" "), admissible)


def _parse_line(text: str, admissible: Collection[str]) -> ParsedReply:
    line = text.lstrip().partition("\n")[0].strip()
    if line.startswith(THOUGHT):
        return ParsedReply(line, None, line.removeprefix(THOUGHT).strip(), None, None)
    return _judged(line, admissible) if line else ParsedReply(None, "empty", None, None, None)


def _end_of_line(text: str) -> int | None:
    end = text.find("\n", len(text) - len(text.lstrip()))
    return None if end < 0 else end


def _without_location(answer: str) -> str:
    """Leave out the number of the location where one arrives, which games of the older wording name."""
    said = read_sentence(answer)
    return said.values[1] if said and said.sentence is ARRIVED and said.values[0].startswith("loc ") else answer


def _answer_line(parsed: ParsedReply, answer: str) -> str:
    return THOUGHT_NOTED if parsed.think is not None else _without_location(answer)


def _answer_thought_and_action(parsed: ParsedReply, answer: str) -> str:
    return ACTION_MISSING if parsed.action is None else _without_location(answer)


def _answer_first_action(_: ParsedReply, answer: str) -> str:
    return f"{answer} {TRY_ANOTHER}" if NOTHING_HAPPENS in answer else answer


def _in_tags(parts: Mapping[str, str]) -> str:
    return compose_reply(("think", "action"), parts)


FORMATS: Mapping[ReplyFormat, Format] = {
    "verl-agent": Format(_in_tags, _parse_projected, lambda _, answer: answer),
    "trinity": Format(_in_tags, _parse_first_action, _answer_first_action),
    "eto": Format(
        lambda parts: f"Thought: {' '.join(parts['think'].split())}\nAction: {parts['action']}",
        _parse_thought_and_action,
        _answer_thought_and_action,
    ),
    "react": Format(lambda parts: parts["action"], _parse_line, _answer_line, stop="\n", end=_end_of_line),
}
"""The formats of published protocols, by their names."""


def formats_that_show(shown: str, reply: str, admissible: Collection[str], answer: str) -> set[ReplyFormat]:
    """Return the published formats in which the game's answer to a reply reaches the policy as `shown`."""
    return {name for name, rules in FORMATS.items() if rules.answer(rules.parse(reply, admissible), answer) == shown}
