"""Which tokens of a conversation are trained, and what is each token part of? The loss mask, turns and token kinds.

A token is trained if it begins inside a reply or ends one. Pure functions of positions in the text.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from alfworld_sft.models.chat_template import RenderedReply
from alfworld_sft.prompts.tags import find_sections
from alfworld_sft.types import Message


class TokenKind(IntEnum):
    """What a token is part of. OTHER_REPLY: tags, text outside of them, and the end of the turn."""

    PROMPT = 0
    OBSERVATION = 1
    THINK = 2
    PREDICTION = 3
    ACTION = 4
    OTHER_REPLY = 5


@dataclass(frozen=True, slots=True)
class Encoded:
    """A conversation in tokens; the lists have one entry per token.

    `mask`: the token is a training target, i.e. part of a reply or the token that ends it. `turn`: the number of its
    exchange, from 0; an exchange ends with its reply. `kind`: a TokenKind. `ends`: the number of tokens up to the end
    of each reply. Template text after the last reply (a newline) is left out, as no reply depends on it.

    `stable`: every shorter conversation that ends with a reply has the same ids up to there. If False, only the last
    reply is masked and counted, because earlier ones are not rendered as the model would have to generate them;
    `ChatEncoder.encode_reply` renders each of them that way.

    An assistant message at the very beginning is context: it has no mask.
    """

    ids: list[int]
    mask: list[bool]
    turn: list[int]
    kind: list[int]
    ends: list[int]
    stable: bool

    def __len__(self) -> int:
        return len(self.ids)


class Span(NamedTuple):
    """A stretch of characters, [start, end), and its kind."""

    start: int
    end: int
    kind: TokenKind


_KIND_OF_TAG = {"think": TokenKind.THINK, "prediction": TokenKind.PREDICTION, "action": TokenKind.ACTION}


def _section_spans(text: str, start: int, end: int) -> list[Span]:
    """Return a reply's sections as a game reads it: without other tags, the text after the thoughts is an action.

    That text may say where its own thought ends, as `Thought: … Action: …`, or be one, as ReAct's `think: …`.
    """
    sections = find_sections(text[start:end])
    inner = [
        Span(start + section.start, start + section.end, _KIND_OF_TAG[section.tag])
        for section in sections
        if section.tag in _KIND_OF_TAG and text[start + section.start : start + section.end].strip()
    ]
    if all(section.tag == "think" for section in sections):
        begin = start + sections[-1].after if sections else start
        rest = text[begin:end]
        begin += len(rest) - len(rest.lstrip()) if sections else 0
        inner += _words_spans(text, begin, end)
    edges = [start, *(edge for span in inner for edge in (span.start, span.end)), end]
    between = [Span(edges[i], edges[i + 1], TokenKind.OTHER_REPLY) for i in range(0, len(edges), 2)]
    return [span for span in (*inner, *between) if span.start < span.end]


def _words_spans(text: str, start: int, end: int) -> list[Span]:
    """Return the thought and the action of a reply that separates them by words, or by nothing."""
    if _THINK_WORD.match(text, start, end):
        return [Span(start, end, TokenKind.THINK)]
    word = _ACTION_WORD.fullmatch(text, start, end)
    if word is None:
        return [Span(start, end, TokenKind.ACTION)]
    return [Span(*word.span(1), TokenKind.THINK), Span(*word.span(2), TokenKind.ACTION)]


_THINK_WORD = re.compile(r"\s*think\s*:")
_ACTION_WORD = re.compile(r"(.*)\baction\s*:\s*(.*)", re.DOTALL | re.IGNORECASE)


def reply_spans(text: str, replies: Sequence[RenderedReply], control: re.Pattern[str]) -> list[Span]:
    """Return the sections of all replies, without the template's text before a reply and the token that ends it."""
    spans: list[Span] = []
    for reply in replies:
        marks = [match.end() for match in control.finditer(text, reply.start, reply.said)]
        begin = marks[-1] if marks else reply.start
        spans += _section_spans(text, begin, reply.said)
        spans.append(Span(reply.start, begin, TokenKind.OTHER_REPLY))
        spans.append(Span(reply.said, reply.over, TokenKind.OTHER_REPLY))
    return spans


def observation_spans(
    messages: Sequence[Message], text: str, replies: Sequence[RenderedReply], header: str
) -> list[Span]:
    """Return the spans of the user messages between replies: from the end of the header to the closing text."""
    spans: list[Span] = []
    turn = 0
    for before, message in zip((None, *messages), messages, strict=False):
        turn += message.role == "assistant"
        if before is None or before.role != "assistant" or message.role != "user":
            continue
        place = replies[turn - 1].after
        for content in (message.content, message.content.strip()):
            if content and text.startswith(header + content, place):
                start = place + len(header)
                spans.append(Span(start, start + len(content), TokenKind.OBSERVATION))
                break
    return spans


def classify_tokens(where: Sequence[tuple[int, int]], spans: Iterable[Span]) -> list[int]:
    """Return each token's kind. A token across an edge counts as part of the section, not of its tags."""
    starts = [start for start, _ in where]
    ends = [end for _, end in where]
    kinds = [int(TokenKind.PROMPT)] * len(where)
    for span in sorted(spans, key=lambda span: span.kind, reverse=True):  # tags first: sections overwrite them
        first, last = bisect_right(ends, span.start), bisect_left(starts, span.end)
        kinds[first:last] = [int(span.kind)] * (last - first)
    return kinds


def mask_replies(
    starts: Sequence[int], replies: Sequence[RenderedReply], untrained_turns: Collection[int] = ()
) -> list[bool]:
    """Return the loss mask: every token that begins inside a trained reply or ends one."""
    trained = [(reply.start, reply.over) for reply in replies if reply.turn not in untrained_turns]
    begins = [begin for begin, _ in trained]
    inside = (bisect_right(begins, start) - 1 for start in starts)
    return [at >= 0 and start < trained[at][1] for start, at in zip(starts, inside, strict=True)]


def number_turns(starts: Sequence[int], replies: Sequence[RenderedReply]) -> list[int]:
    """Return the number of each token's exchange."""
    afters = [reply.after for reply in replies]
    return [replies[bisect_right(afters, start)].turn for start in starts]
