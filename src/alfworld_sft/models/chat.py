"""Messages → token ids and loss mask, made together in one place; training and the local policy share it.

A conversation is rendered in one piece by the model's own chat template and cut only where tokenisation is cut anyway:
at the template's control tokens, and where the model begins to speak (at inference the prompt ends there, too). So ids
equal those of the whole text, and a mask cannot be off by one. The text of a message is data: where it spells a control
token (`<|im_end|>`), it is tokenised as ordinary text. The tags of a reply are no control tokens, even where a
tokenizer has tokens of their own for them.

A reply is trained as it will be sampled: it follows its own prompt, holds what the template puts before it (Qwen3's
empty thought), and ends with the token that ends a turn. Where the prompt opens the thought (DeepSeek-R1 writes
`<think>` there), the reply continues inside it.
"""

from __future__ import annotations

import logging
import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain, pairwise
from typing import Any, NamedTuple, get_args

from alfworld_sft.errors import DatasetError, UserError
from alfworld_sft.prompts.tags import Tag, find_sections, read_section
from alfworld_sft.types import Message

logger = logging.getLogger(__name__)


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
    are up to each reply's end. What a template writes after the last reply (a newline) is left out, as no reply depends
    on it.

    `stable` says whether every shorter conversation that ends with a reply has the same ids, up to there. Where it
    is False, only the last reply is masked and counted, because earlier ones are not rendered as the model would have
    to say them; `ChatEncoder.encode_reply` renders each one so.

    A message of the assistant that nothing comes before is context: it has no mask.
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


class _Layout(NamedTuple):
    """A conversation as text, and where the replies stand in it; unless it is stable, the last one alone is given."""

    text: str
    replies: list[_Reply]
    stable: bool


_TAG_TOKENS = frozenset(f"<{slash}{tag}>" for tag in get_args(Tag) for slash in ("", "/"))
_OPENED_THOUGHT = re.compile(r"<think>\s*\Z")
_CLOSED_THOUGHT = re.compile(r"<think>\s*</think>\s*\Z")
_TAIL_LENGTH = 40
"""Characters by which the end of a reply is found."""
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


_DATE = {
    "%F": "2024-07-26", "%D": "07/26/24", "%x": "07/26/24", "%c": "Fri Jul 26 12:00:00 2024", "%T": "12:00:00",
    "%X": "12:00:00", "%R": "12:00", "%Y": "2024", "%y": "24", "%m": "07", "%-m": "7", "%B": "July", "%b": "Jul",
    "%h": "Jul", "%d": "26", "%-d": "26", "%e": "26", "%j": "208", "%A": "Friday", "%a": "Fri", "%u": "5", "%w": "5",
    "%H": "12", "%-H": "12", "%I": "12", "%-I": "12", "%M": "00", "%S": "00", "%p": "PM", "%Z": "UTC", "%z": "+0000",
}  # fmt: skip
"""The one day on which all prompts are written: the one that Llama's own templates name where there is no clock."""
_DATE_MACRO = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(f" | replace('{directive}', '{value}')" for directive, value in _DATE.items())
    + " }}{%- endmacro %}"
)


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

    `prefix_stable` says whether the template writes a turn the same way whatever follows it. `system_role` is False
    where the template has no system message; such a message then opens the first user message. `end_id` is the token
    that ends a reply, None where there is none; `control_ids` are the tokens that are no text. `opening` is what the
    prompt has said of a reply already (`<think>` and a line feed, say), `inserted_ids` are tokens that are said before
    every reply and no text of it (gpt-oss names a channel there).

    A template that prints today's date is changed, in the tokenizer, to print the same one every day: what is trained,
    played and saved with this tokenizer then sees the same prompts.
    Raises UserError where the tokenizer has no chat template, or none that can be used.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        if not getattr(tokenizer, "chat_template", None):
            raise UserError(f"{_name(tokenizer)} has no chat template; use an instruct model")
        _fix_date(tokenizer)
        added = {str(token): (number, token.special) for number, token in tokenizer.added_tokens_decoder.items()}
        self._in_parts = False
        self._in_parts = not self._shows_text()
        if self._in_parts and not self._shows_text():
            raise UserError(
                f"the chat template of {_name(tokenizer)} does not print the text of an assistant's message"
            )
        frame_text = self._render((*_PROBE[:1], Message("assistant", _LONE)))
        written = {name for name, (_, special) in added.items() if special or (_is_mark(name) and name in frame_text)}
        self._token_ids = {name: added[name][0] for name in written if name}
        self._token = _any_of(self._token_ids)
        self._control = _any_of(self._token_ids.keys() - _TAG_TOKENS)
        self.control_ids = frozenset(self._token_ids[name] for name in self._token_ids.keys() - _TAG_TOKENS)
        self.system_role = self._has_system_role()
        asked = self._render(_PROBE[:1], ask=True)
        opened = _OPENED_THOUGHT.search(asked)
        self.opening = opened[0] if opened else ""
        before, _, after = frame_text.rpartition(_LONE)
        own_end = self._control.search(after)
        self._writes_end = own_end is not None
        self._end = own_end[0] if own_end else str(tokenizer.eos_token or "")
        self.end_id: int | None = self._token_ids.get(self._end)
        self.inserted_ids: list[int] = []
        if before.startswith(asked) and self._control.search(before, len(asked)):
            inserted = before[len(asked) :]
            self.inserted_ids = self._tokenize(inserted, _LONE, self._pieces(inserted, len(inserted), ()))[0]
        self._refuse_unless_pieces_join()
        self._warn_of_tokens()
        self._user_header = self._read_user_header()
        self._frame = self._read_frame() if self._writes_end else None
        self.prefix_stable = self.encode_conversation(_PROBE).stable

    def encode_conversation(self, messages: Sequence[Message], untrained_turns: Collection[int] = ()) -> Encoded:
        """Return a complete conversation that ends with a reply; the replies in `untrained_turns` (from 0) are masked.

        Raises DatasetError for messages that the template refuses.
        """
        return self._encode(messages, untrained_turns, last_only=False)

    def encode_reply(self, messages: Sequence[Message]) -> Encoded:
        """Return a conversation with its last reply alone masked and counted, as the model will have to say it.

        Raises DatasetError for messages that the template refuses.
        """
        return self._encode(messages, (), last_only=True)

    def encode_pair(self, prompt: str, response: str) -> Encoded:
        """Return one question and its answer, as single-turn training and evaluation see them."""
        return self.encode_conversation((Message("user", prompt), Message("assistant", response)))

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Return the ids that ask the model to speak; training sees the very same ones before a reply."""
        plain, mark = _escape(self._fit(messages), self._control)
        text = self._render(plain, ask=True)
        return self._tokenize(text, mark, self._pieces(text, len(text), ()))[0]

    def _encode(self, messages: Sequence[Message], untrained_turns: Collection[int], *, last_only: bool) -> Encoded:
        if not messages or messages[-1].role != "assistant":
            raise DatasetError("a conversation must end with an assistant message")
        plain, mark = _escape(self._fit(messages), self._control)
        text, replies, stable = self._lay_out(plain, last_only=last_only)
        spans: list[_Span] = []
        for reply in replies:
            marks = [match.end() for match in self._control.finditer(text, reply.start, reply.said)]
            begin = marks[-1] if marks else reply.start
            spans += _reply_spans(text, begin, reply.said)
            spans += [_Span(first, last, TokenKind.OTHER_REPLY) for first, last in ((reply.start, begin), reply[2:4])]
        if stable:
            spans += _observation_spans(plain, text, replies, self._user_header)
        pieces = self._pieces(text, replies[-1].over, [reply.start for reply in replies])
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

    def _pieces(self, text: str, length: int, starts: Iterable[int]) -> list[tuple[int, int, bool]]:
        return _cut(length, [match.span() for match in self._token.finditer(text)], starts)

    def _render(self, messages: Sequence[Message], *, ask: bool = False) -> str:
        from jinja2 import TemplateError  # noqa: PLC0415  (comes with transformers)

        plain = [
            {"role": m.role, "content": [{"type": "text", "text": m.content}] if self._in_parts else m.content}
            for m in messages
        ]
        try:
            return str(self.tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=ask))
        except (TemplateError, TypeError) as error:  # the latter where a template adds what it did not expect
            raise DatasetError(f"the model's chat template refuses the conversation: {error}") from None

    def _fit(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Return the messages as the template can take them: without a system role, its text opens the first turn."""
        if self.system_role or messages[0].role != "system" or len(messages) == 1:
            return messages
        if messages[1].role != "user":
            return (Message("user", messages[0].content), *messages[1:])
        opened = Message(messages[1].role, f"{messages[0].content}\n\n{messages[1].content}")
        return (opened, *messages[2:])

    def _shows_text(self) -> bool:
        """Return whether the template prints messages as they are given to it: as text, or as lists of parts."""
        try:
            return _LONE in self._render((*_PROBE[:1], Message("assistant", _LONE)))
        except DatasetError:
            if self._in_parts:
                raise
            return False

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

    def _lay_out(self, messages: Sequence[Message], *, last_only: bool) -> _Layout:
        """Return the text and where the replies stand; it is stable if each stands where its own prefix puts it."""
        text = self._render(messages)
        if self._frame and (framed := _framed_replies(self._frame, messages, text)):
            controls = self._controls(text)
            replies = [_reply(turn, *place, controls) for turn, place in enumerate(framed)]
            return _Layout(text, replies[-1:] if last_only else replies, stable=not last_only or len(replies) == 1)
        places = [index for index, message in enumerate(messages) if message.role == "assistant"]
        found: list[_Reply | None] = []
        if self._writes_end and not last_only:
            for turn, index in enumerate(places[:-1]):
                found.append(self._find_reply(messages[: index + 1], turn, text))
                if found[-1] is None:
                    break
        ended, last = self._last_reply(messages, len(places) - 1, text)
        known = [reply for reply in (*found, last) if reply is not None]
        stable = ended == text and len(known) == len(places)
        return _Layout(ended, known if stable else [last], stable)

    def _controls(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in self._control.finditer(text)]

    def _find_reply(self, messages: Sequence[Message], turn: int, text: str) -> _Reply | None:
        """Return where the last of some messages stands in the text of more, None where it stands there otherwise."""
        answered = self._render(messages)
        if not text.startswith(answered):
            return None
        if len(messages) == 1:
            return _Reply(turn, len(answered), len(answered), len(answered), len(answered))
        asked = self._render(messages[:-1], ask=True)
        content = messages[-1].content
        if not answered.startswith(asked) or _loses_thought(content, answered[len(asked) :]):
            return None
        start = _end_of_content(content, text, len(asked), len(answered))
        return _reply(turn, len(asked), len(answered), self._controls(text[: len(answered)]), start)

    def _last_reply(self, messages: Sequence[Message], turn: int, text: str) -> tuple[str, _Reply]:
        """Return the conversation's text with its last reply as the model will have to say it, and where that stands.

        The text is another one where the template writes the reply otherwise than it asks for it, or without its end.
        """
        if len(messages) == 1:
            raise DatasetError("a conversation must have a message before the assistant's")
        content = messages[-1].content
        asked = self._render(messages[:-1], ask=True)
        start = len(asked)
        joined = text.startswith(asked)
        if joined and not _loses_thought(content, text[start:]):
            said = _end_of_content(content, text, start, len(text))
            if self._writes_end:
                return text, _reply(turn, start, len(text), self._controls(text), said)
            text = text[:said]
        else:
            opened = _OPENED_THOUGHT.search(asked)
            if not joined and not opened and not _CLOSED_THOUGHT.search(asked):
                raise DatasetError(
                    "the model's chat template does not put its generation prompt before a reply; give the tokenizer"
                    " another chat_template, or use another model"
                )
            text = asked + _continue_thought(content, opened[0] if opened else "")
        over = len(text) + len(self._end)
        return text + self._end, _Reply(turn, start, len(text), over, over)

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
                ids.append(self._token_ids[text[start:end]])
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
        """Return ids and (start, end) offsets of ordinary text; control tokens spelt there are also ordinary text."""
        if not texts:
            return [], []
        batch = self.tokenizer(
            texts, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
        )
        return batch["input_ids"], batch["offset_mapping"]

    def _warn_of_tokens(self) -> None:
        tags = sorted(self._token_ids.keys() & _TAG_TOKENS)
        if tags:
            logger.warning(
                "%s has special tokens %s: a server must be asked with skip_special_tokens=false, or it drops them"
                " from replies", _name(self.tokenizer), ", ".join(tags),
            )  # fmt: skip
        if self.end_id is None:
            logger.warning(
                "%s: no token ends a reply in its chat template, so a model cannot learn to stop", _name(self.tokenizer)
            )

    def _refuse_unless_pieces_join(self) -> None:
        """Raise UserError for a tokenizer that encodes a piece of text differently from the full text."""
        text = self._render(_PROBE[:3], ask=True)
        whole = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if self.encode_prompt(_PROBE[:3]) != list(whole):
            raise UserError(
                f"{_name(self.tokenizer)} splits text next to control tokens differently than on its own,"
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


def _reply(turn: int, start: int, after: int, controls: Sequence[tuple[int, int]], content_end: int = -1) -> _Reply:
    """Return a reply between two places of the text; the first control token behind its content ends it."""
    behind = max(start, content_end)
    first = bisect_left(controls, (behind, behind))
    said, over = controls[first] if first < len(controls) and controls[first][0] < after else (after, after)
    return _Reply(turn, start, said, over, after)


def _end_of_content(content: str, text: str, start: int, end: int) -> int:
    """Return where a message's content ends in what the template made of it; `start` if that is unclear."""
    tail = content.rstrip()[-_TAIL_LENGTH:].lstrip()
    at = text.rfind(tail, start, end) if tail else -1
    return at + len(tail) if at >= 0 else start


def _loses_thought(content: str, rendered: str) -> bool:
    """Tell whether the template has dropped the thought of a reply."""
    thought = read_section(content, "think")
    return bool(thought) and "".join((thought or "").split()) not in "".join(rendered.split())


def _continue_thought(content: str, opening: str) -> str:
    """Return what the model has to say of a reply whose beginning the prompt has said already."""
    if not opening:
        return content
    thought = next((section for section in find_sections(content) if section.tag == "think"), None)
    if thought is not None and content[: thought.start].strip() == "<think>":
        rest = content[thought.start :]
        return rest.removeprefix("\n") if opening.endswith("\n") else rest
    if thought is not None and thought.closed:
        return content
    return f"\n</think>\n\n{content}"


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that finds the longest of some words, and nothing where there are none."""
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _is_mark(token: str) -> bool:
    """Return whether an added token looks like a mark of a template, not like a word."""
    return len(token) > 2 and token[0] + token[-1] in ("<>", "[]") and token not in _TAG_TOKENS


def _fix_date(tokenizer: Any) -> None:
    """Let a template that asks for the date print the same one every day."""

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


def read_end_id(tokenizer: Any) -> int | None:
    """Return the token that ends a reply of a tokenizer's chat template; None without a usable template."""
    try:
        return ChatEncoder(tokenizer).end_id
    except UserError:
        return None


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
    """Return the sections of a reply as a game reads it: without other tags, what follows the thoughts is an action."""
    sections = find_sections(text[start:end])
    inner = [
        _Span(start + section.start, start + section.end, _KIND_OF_TAG[section.tag])
        for section in sections
        if section.tag in _KIND_OF_TAG and text[start + section.start : start + section.end].strip()
    ]
    if all(section.tag == "think" for section in sections):
        begin = start + sections[-1].after if sections else start
        rest = text[begin:end]
        begin += len(rest) - len(rest.lstrip()) if sections else 0
        inner.append(_Span(begin, end, TokenKind.ACTION))
    edges = [start, *(edge for span in inner for edge in (span.start, span.end)), end]
    between = [_Span(edges[i], edges[i + 1], TokenKind.OTHER_REPLY) for i in range(0, len(edges), 2)]
    return [span for span in (*inner, *between) if span.start < span.end]


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
