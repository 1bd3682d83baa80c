"""Messages → token ids and loss mask, made together in one place; training and the local policy share it.

A conversation is rendered whole by the model's own chat template and cut only where tokenisation is cut anyway: at
the template's control tokens, and where the model begins to speak (at inference the prompt ends there, too). So ids
equal those of the whole text, and a mask cannot be off by one. The text of a message is data: where it spells a
control token (`<|im_end|>`), it is tokenised as ordinary text.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain, pairwise
from typing import Any, NamedTuple

from alfworld_sft.errors import DatasetError, UserError
from alfworld_sft.types import Message


class TokenKind(IntEnum):
    """What a token says. OTHER_REPLY: tags, what stands outside of them, and the end of the turn."""

    PROMPT = 0
    OBSERVATION = 1
    THINK = 2
    PREDICTION = 3
    ACTION = 4
    OTHER_REPLY = 5


@dataclass(frozen=True, slots=True)
class Encoded:
    """A conversation in tokens; the lists have one entry for each token.

    `mask`: the token is a training target, which replies and the token that ends them are. `turn`: the number of the
    exchange it belongs to, from 0; an exchange ends with its reply. `kind`: a TokenKind. `ends`: how many tokens there
    are up to each reply's end. What a template writes after the last reply (a newline) is left out: nobody reads it.

    `stable` tells whether every shorter conversation that ends with a reply has the same ids, up to there. Where it
    is False, only the last reply is masked and counted, because earlier ones are not rendered as the model would have
    to say them.
    """

    ids: list[int]
    mask: list[bool]
    turn: list[int]
    kind: list[int]
    ends: list[int]
    stable: bool

    def __len__(self) -> int:
        return len(self.ids)


class _Span(NamedTuple):
    """A stretch of characters, [start, end), and what it is."""

    start: int
    end: int
    kind: TokenKind


class _Reply(NamedTuple):
    """Where a reply stands in the rendered text: what is said, the token that ends it, and what follows.

    The model samples [start, over); [said, over) is the control token; [over, after) belongs to the template.
    """

    turn: int
    start: int
    said: int
    over: int
    after: int


_SECTIONS = re.compile(r"<(think|prediction|action)>(.*?)</\1>", re.DOTALL)
_KIND_OF_TAG = {"think": TokenKind.THINK, "prediction": TokenKind.PREDICTION, "action": TokenKind.ACTION}
_PROBE = (
    Message("user", "You see a mug 1.\nYour task: heat it."),
    Message("assistant", "<think>It is here, so I take it.</think>\n<action>take mug 1 from desk 1</action>"),
    Message("user", "You pick up the mug 1."),
    Message("assistant", "<think>To the microwave.</think>\n<action>go to microwave 1</action>"),
    Message("user", "The microwave 1 is closed."),
    Message("assistant", "<think>Closed.</think>\n<action>open microwave 1</action>"),
)
_FIRST_PRIVATE_CHARACTER = 0xE000
_LONE = "\uf8ff"
"""A message that no template rewrites and no template's own text contains."""


class _Frame(NamedTuple):
    """What a template writes around the messages of a conversation of user and assistant."""

    opening: str
    to_reply: str
    to_user: str
    ending: str

    def write(self, contents: Sequence[str]) -> str:
        """Return a conversation that begins with the user; one that ends with the user asks for a reply."""
        joints = [self.to_reply if turn % 2 == 0 else self.to_user for turn in range(len(contents))]
        if len(contents) % 2 == 0:
            joints[-1] = self.ending
        return self.opening + "".join(chain.from_iterable(zip(contents, joints, strict=True)))


class ChatEncoder:
    """Turns messages into tokens with one tokenizer and its chat template.

    `prefix_stable` tells whether the template writes a turn the same way whatever follows it. `system_role` is False
    where the template has no system message; such a message then opens the first user message.
    Raises UserError where the tokenizer has no chat template, or none that can be used.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        if not getattr(tokenizer, "chat_template", None):
            raise UserError(f"{_name(tokenizer)} has no chat template; take an instruct model")
        added = tokenizer.added_tokens_decoder
        self._control_ids = {str(token): number for number, token in added.items() if token.special}
        longest_first = sorted(filter(None, self._control_ids), key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self.system_role = self._has_system_role()
        self._refuse_unless_pieces_join()
        self._user_header = self._read_user_header()
        self._frame = self._read_frame()
        self.prefix_stable = self.encode_conversation(_PROBE).stable

    def encode_conversation(self, messages: Sequence[Message], untrained_turns: Collection[int] = ()) -> Encoded:
        """Return a conversation that ends with a reply, whole; the replies in `untrained_turns` (from 0) are masked.

        Raises DatasetError for messages that the template refuses.
        """
        if not messages or messages[-1].role != "assistant":
            raise DatasetError("a conversation must end with an assistant message")
        plain, mark = _escape(self._fit(messages), self._control)
        text = self._render(plain)
        controls = [match.span() for match in self._control.finditer(text)]
        replies, stable = self._find_replies(plain, text, controls)
        spans: list[_Span] = []
        for reply in replies:
            spans += _reply_spans(text, reply.start, reply.said)
            spans.append(_Span(reply.said, reply.over, TokenKind.OTHER_REPLY))
        if stable:
            spans += _observation_spans(plain, text, replies, self._user_header)
        pieces = _cut(replies[-1].over, controls, [reply.start for reply in replies])
        ids, where = self._tokenize(text, mark, pieces)
        starts = [start for start, _ in where]
        return Encoded(
            ids=ids,
            mask=_covered(starts, [(r.start, r.over) for r in replies if r.turn not in untrained_turns]),
            turn=_turns(starts, replies),
            kind=_kinds(where, spans),
            ends=[bisect_left(starts, reply.over) for reply in replies],
            stable=stable,
        )

    def encode_pair(self, prompt: str, response: str) -> Encoded:
        """Return one question and its answer, as single-turn training and evaluation see them."""
        return self.encode_conversation((Message("user", prompt), Message("assistant", response)))

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Return the ids that ask the model to speak; training sees the very same ones before a reply."""
        plain, mark = _escape(self._fit(messages), self._control)
        text = self._render(plain, ask=True)
        controls = [match.span() for match in self._control.finditer(text)]
        return self._tokenize(text, mark, _cut(len(text), controls, ()))[0]

    def _render(self, messages: Sequence[Message], *, ask: bool = False) -> str:
        from jinja2 import TemplateError  # noqa: PLC0415  (comes with transformers)

        plain = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return str(self.tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=ask))
        except TemplateError as error:
            raise DatasetError(f"the model's chat template refuses the conversation: {error}") from None

    def _fit(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Return the messages as the template can take them: without a system role, its text opens the first turn."""
        if self.system_role or messages[0].role != "system" or len(messages) == 1:
            return messages
        opened = Message(messages[1].role, f"{messages[0].content}\n\n{messages[1].content}")
        return (opened, *messages[2:])

    def _has_system_role(self) -> bool:
        word = "Housekeeper"
        try:
            return word in self._render((Message("system", word), *_PROBE[:2]))
        except DatasetError:
            return False

    def _read_user_header(self) -> str:
        """Return what the template writes before a user message that follows a reply."""
        before = self._render(_PROBE[:2])
        text = self._render((*_PROBE[:2], Message("user", _LONE)))
        return text[len(before) : text.index(_LONE)] if text.startswith(before) and _LONE in text else ""

    def _read_frame(self) -> _Frame | None:
        """Return what surrounds the messages; None where the last turn is written in another way than those before."""
        contents = [f"{_LONE}{number}{_LONE}" for number in range(4)]
        talk = [Message("assistant" if number % 2 else "user", content) for number, content in enumerate(contents)]
        texts = [self._render(talk[:end], ask=end % 2 == 1) for end in range(1, 5)]
        around = re.split("|".join(contents), texts[-1])
        if len(around) != 5:
            return None
        frame = _Frame(around[0], around[1], around[2], around[4])
        return frame if texts == [frame.write(contents[:end]) for end in range(1, 5)] else None

    def _find_replies(
        self, messages: Sequence[Message], text: str, controls: Sequence[tuple[int, int]]
    ) -> tuple[list[_Reply], bool]:
        """Return where the replies stand in the text, and whether each one stands where its own prefix puts it."""
        if self._frame and (framed := _framed_replies(self._frame, messages, text)):
            return [_reply(turn, start, after, controls) for turn, (start, after) in enumerate(framed)], True
        found: list[_Reply] = []
        stable = True
        turn = 0
        for index, message in enumerate(messages):
            if message.role != "assistant":
                continue
            asked = self._render(messages[:index], ask=True)
            answered = text if index == len(messages) - 1 else self._render(messages[: index + 1])
            if text.startswith(answered) and answered.startswith(asked):
                found.append(_reply(turn, len(asked), len(answered), controls))
            else:
                stable = False
            turn += 1
        if not stable:
            found = [reply for reply in found if reply.turn == turn - 1]
        if not found:
            raise DatasetError("the model's chat template does not put its generation prompt before a reply")
        return found, stable

    def _tokenize(
        self, text: str, mark: str, pieces: Sequence[tuple[int, int, bool]]
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Return ids and places in the text of the pieces (start, end, whether it is a control token)."""
        words = [text[start:end].replace(mark, "") for start, end, control in pieces if not control]
        batch = iter(zip(*self._tokenize_text(words), strict=True))
        marks = [match.start() for match in re.finditer(re.escape(mark), text)]
        ids: list[int] = []
        where: list[tuple[int, int]] = []
        for start, end, control in pieces:
            if control:
                ids.append(self._control_ids[text[start:end]])
                where.append((start, end))
                continue
            piece_ids, offsets = next(batch)
            ids += piece_ids
            inside = [place - start for place in marks if start <= place < end]
            if inside:
                offsets = [(_widen(first, inside), _widen(last, inside)) for first, last in offsets]
            where += [(start + first, start + last) for first, last in offsets]
        return ids, where

    def _tokenize_text(self, texts: list[str]) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
        """Return ids and (start, end) offsets of ordinary text; control tokens spelt there are ordinary, too."""
        if not texts:
            return [], []
        batch = self.tokenizer(
            texts, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
        )
        return batch["input_ids"], batch["offset_mapping"]

    def _refuse_unless_pieces_join(self) -> None:
        """Raise UserError for a tokenizer that writes a piece of text otherwise than the whole."""
        text = self._render(_PROBE[:3], ask=True)
        whole = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if self.encode_prompt(_PROBE[:3]) != list(whole):
            raise UserError(
                f"{_name(self.tokenizer)} splits text at control tokens in another way than apart from them,"
                " so a loss mask would not be exact; take a model with a byte-level tokenizer (Qwen, Llama 3, …)"
            )


def _framed_replies(frame: _Frame, messages: Sequence[Message], text: str) -> list[tuple[int, int]]:
    """Return where the replies begin and where the template has ended them; nothing where the text is not so framed.

    What a template does to a turn for what follows it (strips its <think>, say) shows in the whole text, because the
    last turn has nothing after it: text that is framed alike all through is its own prefix at every reply.
    """
    contents = [message.content for message in messages]
    roles = [message.role for message in messages]
    if roles != ["user", "assistant"] * (len(messages) // 2) or frame.write(contents) != text:
        return []
    places: list[tuple[int, int]] = []
    at = len(frame.opening)
    for asked, said in zip(contents[::2], contents[1::2], strict=True):
        start = at + len(asked) + len(frame.to_reply)
        places.append((start, start + len(said) + len(frame.ending)))
        at = start + len(said) + len(frame.to_user)
    return places


def _reply(turn: int, start: int, after: int, controls: Sequence[tuple[int, int]]) -> _Reply:
    """Return a reply between two places of the text; the first control token in there ends it."""
    first = bisect_left(controls, (start, start))
    said, over = controls[first] if first < len(controls) and controls[first][0] < after else (after, after)
    return _Reply(turn, start, said, over, after)


def _escape(messages: Sequence[Message], control: re.Pattern[str]) -> tuple[list[Message], str]:
    """Break up control tokens spelt in messages with a mark, a character that occurs in none of them."""
    texts = "".join(message.content for message in messages)
    number = _FIRST_PRIVATE_CHARACTER
    while chr(number) in texts:
        number += 1
    mark = chr(number)

    def broken(match: re.Match[str]) -> str:
        return match[0][:1] + mark + match[0][1:]

    return [Message(message.role, control.sub(broken, message.content)) for message in messages], mark


def _widen(offset: int, marks: Sequence[int]) -> int:
    """Return the place in the marked text of a place in the text without marks."""
    for mark in marks:
        if mark > offset:
            break
        offset += 1
    return offset


def _cut(length: int, controls: Sequence[tuple[int, int]], starts: Iterable[int]) -> list[tuple[int, int, bool]]:
    """Cut [0, length) at the control tokens and before each reply; the flag says which pieces are control tokens."""
    known = {span for span in controls if span[1] <= length}
    edges = sorted({0, length, *starts, *(edge for span in known for edge in span)})
    return [(start, end, (start, end) in known) for start, end in pairwise(edges)]


def _reply_spans(text: str, start: int, end: int) -> list[_Span]:
    """Return the sections of a reply; one without tags is an action from end to end."""
    sections = [
        _Span(start + match.start(2), start + match.end(2), _KIND_OF_TAG[match[1]])
        for match in _SECTIONS.finditer(text[start:end])
    ]
    if not sections:
        return [_Span(start, end, TokenKind.ACTION)]
    inner = [(section.start, section.end) for section in sections]
    edges = [start, *(edge for span in inner for edge in span), end]
    between = [_Span(edges[i], edges[i + 1], TokenKind.OTHER_REPLY) for i in range(0, len(edges), 2)]
    return [span for span in (*sections, *between) if span.start < span.end]


def _observation_spans(messages: Sequence[Message], text: str, replies: Sequence[_Reply], header: str) -> list[_Span]:
    """Return where the user messages between replies stand: after their header, up to the words that end them."""
    spans: list[_Span] = []
    turn = 0
    for before, message in zip((None, *messages), messages, strict=False):
        turn += message.role == "assistant"
        if before is None or before.role != "assistant" or message.role != "user":
            continue
        place = replies[turn - 1].after
        for content in (message.content, message.content.strip()):
            if content and text.startswith(header + content, place):
                start = place + len(header)
                spans.append(_Span(start, start + len(content), TokenKind.OBSERVATION))
                break
    return spans


def _kinds(where: Sequence[tuple[int, int]], spans: Iterable[_Span]) -> list[int]:
    """Return each token's kind. A token over an edge belongs to a section rather than to its tags."""
    starts = [start for start, _ in where]
    ends = [end for _, end in where]
    kinds = [int(TokenKind.PROMPT)] * len(where)
    for span in sorted(spans, key=lambda span: span.kind, reverse=True):  # tags first: sections write over them
        first, last = bisect_right(ends, span.start), bisect_left(starts, span.end)
        kinds[first:last] = [int(span.kind)] * (last - first)
    return kinds


def _covered(starts: Sequence[int], stretches: Sequence[tuple[int, int]]) -> list[bool]:
    """Tell of each token whether it begins inside one of the stretches, which are in order."""
    begins = [begin for begin, _ in stretches]
    inside = (bisect_right(begins, start) - 1 for start in starts)
    return [at >= 0 and start < stretches[at][1] for start, at in zip(starts, inside, strict=True)]


def _turns(starts: Sequence[int], replies: Sequence[_Reply]) -> list[int]:
    """Return the number of the exchange that each token belongs to."""
    afters = [reply.after for reply in replies]
    return [replies[bisect_right(afters, start)].turn for start in starts]


def _name(tokenizer: Any) -> str:
    return f"the tokenizer of {getattr(tokenizer, 'name_or_path', '') or 'the model'}"
