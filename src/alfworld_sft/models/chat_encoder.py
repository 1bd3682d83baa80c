"""How do messages become token ids? Training and the local policy share this; `loss_mask` decides what is trained.

The text comes from `chat_template`. It is cut only where tokenisation splits anyway: at the template's control tokens,
and at the start of a reply, where the prompt ends at inference. So the ids equal those of the complete text, and a mask
cannot be off by one. The text of a message is data: a control token spelt in it (`<|im_end|>`) is tokenised as ordinary
text.
"""

from __future__ import annotations

import logging
import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

from alfworld_sft.errors import DatasetError, UserError
from alfworld_sft.models.chat_template import LONE, PROBE, TAG_TOKENS, ChatTemplate, name_tokenizer
from alfworld_sft.models.loss_mask import (
    Encoded,
    classify_tokens,
    mask_replies,
    number_turns,
    observation_spans,
    reply_spans,
)
from alfworld_sft.types import Message

logger = logging.getLogger(__name__)

_FIRST_PRIVATE_CHARACTER = 0xE000
_REMEMBERED_CHARACTERS = 1_000_000
"""Of texts whose tokens are remembered: some 40 MB."""

Tokenized: TypeAlias = tuple[list[int], list[tuple[int, int]]]
"""Token ids, and the (start, end) of each in its text."""


class ChatEncoder:
    """Turns messages into tokens with one tokenizer and its chat template.

    `prefix_stable`: the template writes a turn the same way regardless of what follows. `system_role` is False if the
    template has no system message; such a message is then prepended to the first user message. `end_id` is the token
    that ends a reply, or None; `control_ids` are the tokens that are not text. `opening` is the part of the reply
    already in the prompt (e.g. `<think>` and a line feed). `inserted_ids` are tokens generated before every reply that
    are not part of its text (gpt-oss names a channel there).

    A template that prints today's date is changed, in the tokenizer, to print a fixed date, so training, playing and
    saved models all see the same prompts. Raises UserError if the tokenizer has no chat template or an unusable one.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._remembered: dict[str, Tokenized] = {}
        self._remembered_characters = 0
        template = self._template = ChatTemplate(tokenizer)
        self.control_ids = frozenset(template.token_ids[name] for name in template.token_ids.keys() - TAG_TOKENS)
        self.system_role = template.system_role
        self.opening = template.opening
        self.end_id: int | None = template.token_ids.get(template.end)
        inserted = template.inserted
        self.inserted_ids = self._tokenize(inserted, LONE, self._pieces(inserted, len(inserted), ()))[0]
        self._refuse_unless_pieces_join()
        self._warn_of_tokens()
        self.prefix_stable = self.encode_conversation(PROBE).stable

    def encode_conversation(self, messages: Sequence[Message], untrained_turns: Collection[int] = ()) -> Encoded:
        """Encode a complete conversation that ends with a reply; `untrained_turns` (from 0) are masked out.

        Raises DatasetError for messages that the template rejects.
        """
        return self._encode(messages, untrained_turns, last_only=False)

    def encode_reply(self, messages: Sequence[Message]) -> Encoded:
        """Encode a conversation with only its last reply masked and counted, exactly as the model has to generate it.

        Raises DatasetError for messages that the template rejects.
        """
        return self._encode(messages, (), last_only=True)

    def encode_pair(self, prompt: str, response: str) -> Encoded:
        """Encode one question and its answer, as in single-turn training and evaluation."""
        return self.encode_conversation((Message("user", prompt), Message("assistant", response)))

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Return the ids of the generation prompt; training has exactly the same ids before a reply."""
        plain, mark = _escape(self._template.fit(messages), self._template.control)
        text = self._template.render(plain, ask=True)
        return self._tokenize(text, mark, self._pieces(text, len(text), ()))[0]

    def encode_follow_up(self, content: str) -> list[int]:
        """Return the ids from the end of a reply to the next generation prompt: end of turn, user message, header.

        They do not depend on the turns before, so sampled ids can stand in front of them exactly as they were sampled:
        encoding the conversation anew could merge their text into other tokens, and some templates drop its thoughts.
        """
        exchange = (*PROBE[:1], Message("assistant", LONE), Message("user", content))
        plain, mark = _escape(exchange, self._template.control)
        text = self._template.render(plain, ask=True)
        after = text[text.index(LONE) + len(LONE) :]
        return self._tokenize(after, mark, self._pieces(after, len(after), ()))[0]

    def encode_text(self, text: str) -> list[int]:
        """Return the ids of a piece of a reply's text."""
        [plain], mark = _escape([Message("assistant", text)], self._template.control)
        return self._tokenize(plain.content, mark, self._pieces(plain.content, len(plain.content), ()))[0]

    def _encode(self, messages: Sequence[Message], untrained_turns: Collection[int], *, last_only: bool) -> Encoded:
        if not messages or messages[-1].role != "assistant":
            raise DatasetError("a conversation must end with an assistant message")
        plain, mark = _escape(self._template.fit(messages), self._template.control)
        text, replies, stable = self._template.lay_out(plain, last_only=last_only)
        spans = reply_spans(text, replies, self._template.control)
        if stable:
            spans += observation_spans(plain, text, replies, self._template.user_header)
        pieces = self._pieces(text, replies[-1].over, [reply.start for reply in replies])
        ids, where = self._tokenize(text, mark, pieces)
        starts = [start for start, _ in where]
        return Encoded(
            ids=ids,
            mask=mask_replies(starts, replies, untrained_turns),
            turn=number_turns(starts, replies),
            kind=classify_tokens(where, spans),
            ends=[bisect_left(starts, reply.over) for reply in replies],
            stable=stable,
        )

    def _pieces(self, text: str, length: int, starts: Iterable[int]) -> list[tuple[int, int, bool]]:
        return _cut(length, [match.span() for match in self._template.token.finditer(text)], starts)

    def _tokenize(
        self, text: str, mark: str, pieces: Sequence[tuple[int, int, bool]]
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the ids and text offsets of the pieces (start, end, is it a control token)."""
        words = [text[start:end].replace(mark, "") for start, end, control in pieces if not control]
        batch = iter(self._tokenize_text(words))
        marks = [match.start() for match in re.finditer(re.escape(mark), text)]
        ids: list[int] = []
        where: list[tuple[int, int]] = []
        for start, end, control in pieces:
            if control:
                ids.append(self._template.token_ids[text[start:end]])
                where.append((start, end))
                continue
            piece_ids, offsets = next(batch)
            ids += piece_ids
            inside = [place - start for place in marks if start <= place < end]
            if inside:
                offsets = [(_widen(first, inside), _widen(last, inside)) for first, last in offsets]
            where += [(start + first, start + last) for first, last in offsets]
        return ids, where

    def _tokenize_text(self, texts: list[str]) -> list[Tokenized]:
        """Return ids and (start, end) offsets of ordinary texts, including any control tokens spelt in them.

        Recent ones are remembered: an episode's next prompt repeats all its messages, and many games say the same.
        """
        known = {text: self._remembered[text] for text in texts if text in self._remembered}
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            batch = self.tokenizer(
                new, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
            )
            known |= zip(new, zip(batch["input_ids"], batch["offset_mapping"], strict=True), strict=True)
            if self._remembered_characters > _REMEMBERED_CHARACTERS:
                self._remembered, self._remembered_characters = {}, 0
            self._remembered |= {text: known[text] for text in new}
            self._remembered_characters += sum(map(len, new))
        return [known[text] for text in texts]

    def _warn_of_tokens(self) -> None:
        tags = sorted(self._template.token_ids.keys() & TAG_TOKENS)
        if tags:
            logger.warning(
                "%s has special tokens %s: a server must be asked with skip_special_tokens=false, or it drops them"
                " from replies", name_tokenizer(self.tokenizer), ", ".join(tags),
            )  # fmt: skip
        if self.end_id is None:
            logger.warning(
                "%s: no token ends a reply in its chat template, so a model cannot learn to stop",
                name_tokenizer(self.tokenizer),
            )

    def _refuse_unless_pieces_join(self) -> None:
        """Raise UserError if the tokenizer encodes a piece of text differently from the full text."""
        text = self._template.render(PROBE[:3], ask=True)
        whole = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if self.encode_prompt(PROBE[:3]) != list(whole):
            raise UserError(
                f"{name_tokenizer(self.tokenizer)} splits text next to control tokens differently than on its own,"
                " so a loss mask would not be exact; take a model with a byte-level tokenizer (Qwen, Llama 3, …)"
            )


def read_end_id(tokenizer: Any) -> int | None:
    """Return the token that ends a reply in a tokenizer's chat template; None without a usable template."""
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
    """Map an offset in the text without marks to the marked text."""
    for mark in marks:
        if mark > offset:
            break
        offset += 1
    return offset


def _cut(length: int, controls: Sequence[tuple[int, int]], starts: Iterable[int]) -> list[tuple[int, int, bool]]:
    """Cut [0, length) at the control tokens and before each reply; the flag marks control tokens."""
    known = {span for span in controls if span[1] <= length}
    edges = sorted({0, length, *starts, *(edge for span in known for edge in span)})
    return [(start, end, (start, end) in known) for start, end in pairwise(edges)]
