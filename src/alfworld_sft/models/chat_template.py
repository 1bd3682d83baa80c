"""How does a model's chat template write a conversation, and where are the replies in it?

The model's own template renders a conversation in one piece. A reply's position matches generation: it follows its own
prompt, includes anything the template puts before it (Qwen3's empty thought), and ends with the end-of-turn token. If
the prompt opens the thought (DeepSeek-R1 writes `<think>` there), the reply continues inside it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import chain, takewhile
from typing import Any, NamedTuple, get_args

from alfworld_sft.errors import DatasetError, UserError
from alfworld_sft.models.template_date import fix_date
from alfworld_sft.prompts.tags import Tag, find_sections, read_section
from alfworld_sft.types import Message

TAG_TOKENS = frozenset(f"<{slash}{tag}>" for tag in get_args(Tag) for slash in ("", "/"))
"""The tags of a reply: never control tokens, even if a tokenizer has special tokens for them."""
_OPENED_THOUGHT = re.compile(r"<think>\s*\Z")
_CLOSED_THOUGHT = re.compile(r"<think>\s*</think>\s*\Z")
_TAIL_LENGTH = 40
"""Characters used to find the end of a reply."""
PROBE = (
    Message("user", "You see a mug 1.\nYour task: heat it."),
    Message("assistant", "<think>It is here, so I take it.</think>\n<action>take mug 1 from desk 1</action>"),
    Message("user", "You pick up the mug 1."),
    Message("assistant", "<think>To the microwave.</think>\n<action>go to microwave 1</action>"),
    Message("user", "The microwave 1 is closed."),
    Message("assistant", "<think>Closed.</think>\n<action>open microwave 1</action>"),
)
"""A conversation for probing a template."""
LONE = "\uf8ff"
"""A message that no template rewrites and that occurs in no template's own text."""


class RenderedReply(NamedTuple):
    """The position of a reply in the rendered text: its content, the token that ends it, and the rest.

    The model samples [start, over); [said, over) is the control token; [over, after) belongs to the template.
    """

    turn: int
    start: int
    said: int
    over: int
    after: int


class Rendered(NamedTuple):
    """A conversation as text with the positions of its replies; only the last one unless it is stable."""

    text: str
    replies: list[RenderedReply]
    stable: bool


class _Frame(NamedTuple):
    """The text that a template writes around user and assistant messages.

    `ending` follows the last reply, and `end` is that part of it which earlier replies have as well.
    """

    opening: str
    to_reply: str
    to_user: str
    ending: str
    end: str

    def write(self, contents: Sequence[str]) -> str:
        """Render a conversation that begins with the user; one that ends with the user asks for a reply."""
        joints = [self.to_reply if turn % 2 == 0 else self.to_user for turn in range(len(contents))]
        if len(contents) % 2 == 0:
            joints[-1] = self.ending
        return self.opening + "".join(chain.from_iterable(zip(contents, joints, strict=True)))


class ChatTemplate:
    """The chat template of one tokenizer, with its probed properties.

    `token_ids`: the tokens that are not message text, by name; `token` matches all of them in a rendered text,
    `control` all except the reply's tags. `system_role` is False if the template has no system message; such a message
    is then prepended to the first user message. `opening` is the part of the reply already in the prompt; `inserted` is
    generated before every reply but is not part of its text. `end` is the token that ends a reply ("" if there is
    none); `user_header` is the text before a user message that follows a reply.

    A template that prints today's date is changed, in the tokenizer, to print a fixed date. Raises UserError if the
    tokenizer has no chat template or an unusable one.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        if not getattr(tokenizer, "chat_template", None):
            raise UserError(f"{name_tokenizer(tokenizer)} has no chat template; use an instruct model")
        fix_date(tokenizer)
        self._in_parts = False
        self._in_parts = not self._shows_text()
        if self._in_parts and not self._shows_text():
            raise UserError(
                f"the chat template of {name_tokenizer(tokenizer)} does not print the text of an assistant's message"
            )
        frame_text = self.render((*PROBE[:1], Message("assistant", LONE)))
        self.token_ids = _tokens_of_template(tokenizer, frame_text)
        self.token = _any_of(self.token_ids)
        self.control = _any_of(self.token_ids.keys() - TAG_TOKENS)
        self.system_role = self._has_system_role()
        asked = self.render(PROBE[:1], ask=True)
        opened = _OPENED_THOUGHT.search(asked)
        self.opening = opened[0] if opened else ""
        before, _, after = frame_text.rpartition(LONE)
        has_insert = before.startswith(asked) and self.control.search(before, len(asked))
        self.inserted = before[len(asked) :] if has_insert else ""
        own_end = self.control.search(after)
        self._writes_end = own_end is not None
        self.end = own_end[0] if own_end else str(tokenizer.eos_token or "")
        self._frame = self._read_frame() if self._writes_end else None
        self.user_header = self._frame.to_user[len(self._frame.end) :] if self._frame else self._read_user_header()

    def render(self, messages: Sequence[Message], *, ask: bool = False) -> str:
        """Render the conversation; `ask` appends the generation prompt.

        Raises DatasetError for messages that the template rejects.
        """
        from jinja2 import TemplateError  # noqa: PLC0415  (comes with transformers)

        plain = [
            {"role": m.role, "content": [{"type": "text", "text": m.content}] if self._in_parts else m.content}
            for m in messages
        ]
        try:
            return str(self.tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=ask))
        except (TemplateError, TypeError) as error:  # TypeError: the template concatenates an unexpected type
            raise DatasetError(f"the model's chat template refuses the conversation: {error}") from None

    def fit(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Adapt messages to the template: without a system role, the system text is prepended to the first turn."""
        if self.system_role or messages[0].role != "system" or len(messages) == 1:
            return messages
        if messages[1].role != "user":
            return (Message("user", messages[0].content), *messages[1:])
        opened = Message(messages[1].role, f"{messages[0].content}\n\n{messages[1].content}")
        return (opened, *messages[2:])

    def _shows_text(self) -> bool:
        """Return whether the template prints message content as given: as text, or as lists of parts."""
        try:
            return LONE in self.render((*PROBE[:1], Message("assistant", LONE)))
        except DatasetError:
            if self._in_parts:
                raise
            return False

    def _has_system_role(self) -> bool:
        word = "Housekeeper"
        try:
            return word in self.render((Message("system", word), *PROBE[:2]))
        except DatasetError:
            return False

    def _read_user_header(self) -> str:
        """Return the text that the template writes before a user message that follows a reply."""
        before = self.render(PROBE[:2])
        text = self.render((*PROBE[:2], Message("user", LONE)))
        return text[len(before) : text.index(LONE)] if text.startswith(before) and LONE in text else ""

    def _read_frame(self) -> _Frame | None:
        """Return the text around the messages; None if the last turn is written or ended otherwise than others."""
        contents = [f"{LONE}{number}{LONE}" for number in range(4)]
        talk = [Message("assistant" if number % 2 else "user", content) for number, content in enumerate(contents)]
        texts = [self.render(talk[:end], ask=end % 2 == 1) for end in range(1, 5)]
        around = re.split("|".join(contents), texts[-1])
        if len(around) != 5:
            return None
        opening, to_reply, to_user, _, ending = around
        pairs = zip(ending, to_user, strict=False)
        common = "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        ends = list(self.control.finditer(common))
        if not ends:
            return None
        if common != ending:  # it may have part of a token
            rest = common[ends[-1].end() :]
            common = common[: len(common) - len(rest.lstrip())]
        frame = _Frame(opening, to_reply, to_user, ending, common)
        return frame if texts == [frame.write(contents[:end]) for end in range(1, 5)] else None

    def lay_out(self, messages: Sequence[Message], *, last_only: bool) -> Rendered:
        """Return the text and the positions of the replies; stable if each matches the position in its own prefix."""
        text = self.render(messages)
        if self._frame and (framed := _split_frame(self._frame, messages, text)):
            controls = self._controls(text)
            replies = [_reply(turn, *place, controls) for turn, place in enumerate(framed)]
            return Rendered(text, replies[-1:] if last_only else replies, stable=not last_only or len(replies) == 1)
        places = [index for index, message in enumerate(messages) if message.role == "assistant"]
        found: list[RenderedReply | None] = []
        if self._writes_end and not last_only:
            for turn, index in enumerate(places[:-1]):
                found.append(self._find_reply(messages[: index + 1], turn, text))
                if found[-1] is None:
                    break
        ended, last = self._last_reply(messages, len(places) - 1, text)
        known = [reply for reply in (*found, last) if reply is not None]
        stable = ended == text and len(known) == len(places)
        return Rendered(ended, known if stable else [last], stable)

    def _controls(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in self.control.finditer(text)]

    def _find_reply(self, messages: Sequence[Message], turn: int, text: str) -> RenderedReply | None:
        """Locate a prefix's last reply in a longer conversation's text; None if it is rendered differently there."""
        answered = self.render(messages)
        if not text.startswith(answered):
            return None
        if len(messages) == 1:
            return RenderedReply(turn, len(answered), len(answered), len(answered), len(answered))
        asked = self.render(messages[:-1], ask=True)
        content = messages[-1].content
        if not answered.startswith(asked) or _loses_thought(content, answered[len(asked) :]):
            return None
        start = _end_of_content(content, text, len(asked), len(answered))
        return _reply(turn, len(asked), len(answered), self._controls(text[: len(answered)]), start)

    def _last_reply(self, messages: Sequence[Message], turn: int, text: str) -> tuple[str, RenderedReply]:
        """Render the conversation with its last reply as the model has to generate it, and locate that reply.

        The text differs from the template's if the template does not continue its own prompt with the reply, or omits
        its end.
        """
        if len(messages) == 1:
            raise DatasetError("a conversation must have a message before the assistant's")
        content = messages[-1].content
        asked = self.render(messages[:-1], ask=True)
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
        over = len(text) + len(self.end)
        return text + self.end, RenderedReply(turn, start, len(text), over, over)


def _tokens_of_template(tokenizer: Any, text: str) -> dict[str, int]:
    """Return the special tokens, and the added tokens used as marks in the template's `text`, with their ids."""
    added = {str(token): (number, token.special) for number, token in tokenizer.added_tokens_decoder.items()}
    return {
        name: number
        for name, (number, special) in added.items()
        if name and (special or (_is_mark(name) and name in text))
    }


def _split_frame(frame: _Frame, messages: Sequence[Message], text: str) -> list[tuple[int, int]]:
    """Return where the replies begin and where the template has ended them; empty if the text has another frame.

    Any rewriting of earlier turns (e.g. stripping their <think>) shows in the complete text, because nothing follows
    the last turn: a text with the same frame throughout is its own prefix at every reply.
    """
    contents = [message.content for message in messages]
    roles = [message.role for message in messages]
    if roles != ["user", "assistant"] * (len(messages) // 2) or frame.write(contents) != text:
        return []
    places: list[tuple[int, int]] = []
    at = len(frame.opening)
    for asked, said in zip(contents[::2], contents[1::2], strict=True):
        start = at + len(asked) + len(frame.to_reply)
        places.append((start, start + len(said) + len(frame.end)))
        at = start + len(said) + len(frame.to_user)
    return places


def _reply(
    turn: int, start: int, after: int, controls: Sequence[tuple[int, int]], content_end: int = -1
) -> RenderedReply:
    """Locate a reply between two positions of the text; the first control token after its content ends it."""
    behind = max(start, content_end)
    first = bisect_left(controls, (behind, behind))
    said, over = controls[first] if first < len(controls) and controls[first][0] < after else (after, after)
    return RenderedReply(turn, start, said, over, after)


def _end_of_content(content: str, text: str, start: int, end: int) -> int:
    """Return where a message's content ends in its rendering; `start` if that is unclear."""
    tail = content.rstrip()[-_TAIL_LENGTH:].lstrip()
    at = text.rfind(tail, start, end) if tail else -1
    return at + len(tail) if at >= 0 else start


def _loses_thought(content: str, rendered: str) -> bool:
    """Return whether the template has dropped the thought of a reply."""
    thought = read_section(content, "think")
    return bool(thought) and "".join((thought or "").split()) not in "".join(rendered.split())


def _continue_thought(content: str, opening: str) -> str:
    """Return the remainder of a reply that the prompt has already begun."""
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
    """Return a pattern that matches the longest of some words; without words it matches nothing."""
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _is_mark(token: str) -> bool:
    """Return whether an added token looks like a template's mark rather than a word."""
    return len(token) > 2 and token[0] + token[-1] in ("<>", "[]") and token not in TAG_TOKENS


def name_tokenizer(tokenizer: Any) -> str:
    """Return a description of the tokenizer for messages."""
    return f"the tokenizer of {getattr(tokenizer, 'name_or_path', '') or 'the model'}"
