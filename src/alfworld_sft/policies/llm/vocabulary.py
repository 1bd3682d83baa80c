"""Which text does each token of a tokenizer stand for, and which tokens spell the beginning of a text?

Here a text has one character per byte of its UTF-8 form (`in_bytes`), because a token may end inside a character.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Iterator
from functools import cache
from itertools import chain
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")  # how SentencePiece spells a byte of an unknown character


def in_bytes(text: str) -> str:
    """Return a text with one character per byte of its UTF-8 form; ASCII stays as it is."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


class Vocabulary:
    """The tokens of a tokenizer by their texts.

    Tokens without a text of their own (`silent`) and those that the model does not have, from `size` on, are left out.
    """

    def __init__(self, tokenizer: Any, silent: Collection[int], size: int) -> None:
        found = _texts_of(tokenizer)
        self._by_id = {number: text for number, text in found.items() if text and number not in silent}
        pairs = sorted((text, number) for number, text in self._by_id.items() if number < size)
        self._texts = [text for text, _ in pairs]
        self._ids = [number for _, number in pairs]
        self._containing: dict[str, tuple[int, ...]] = {}

    def text(self, token: int) -> str:
        """Return the text of a token, "" if it has none."""
        return self._by_id.get(token, "")

    def beginnings(self, text: str) -> Iterator[int]:
        """Yield the tokens that spell a beginning of a text, or all of it."""
        at = 0
        for length in range(1, len(text) + 1):
            beginning = text[:length]
            at = bisect_left(self._texts, beginning, at)
            if at == len(self._texts) or not self._texts[at].startswith(beginning):
                return
            while at < len(self._texts) and self._texts[at] == beginning:
                yield self._ids[at]
                at += 1

    def starting(self, text: str) -> Iterator[int]:
        """Yield the tokens whose text starts with a text that is not empty."""
        for at in range(bisect_left(self._texts, text), len(self._texts)):
            if not self._texts[at].startswith(text):
                return
            yield self._ids[at]

    def containing(self, text: str) -> tuple[int, ...]:
        """Return the tokens that contain a text; the answer is kept, so ask for few texts."""
        if text not in self._containing:
            pairs = zip(self._texts, self._ids, strict=True)
            self._containing[text] = tuple(number for known, number in pairs if text in known)
        return self._containing[text]


def _texts_of(tokenizer: Any) -> dict[int, str]:
    """Return the text of every token by its id."""
    added = {int(number): in_bytes(str(token)) for number, token in tokenizer.added_tokens_decoder.items()}
    pieces = {int(number): str(piece) for piece, number in tokenizer.get_vocab().items() if number not in added}
    if "ByteLevel" in str(tokenizer.backend_tokenizer.decoder):
        alphabet = _byte_alphabet()
        return {number: piece.translate(alphabet) for number, piece in pieces.items()} | added
    single = {number: chr(int(byte[1], 16)) for number, piece in pieces.items() if (byte := _BYTE.fullmatch(piece))}
    others = _decoded(tokenizer, [number for number in pieces if number not in single])
    return {number: in_bytes(text) for number, text in others.items()} | single | added


def _decoded(tokenizer: Any, ids: list[int]) -> dict[int, str]:
    """Return what each token adds to a text: alone, a tokenizer may drop the space before it."""
    before = ids[0]
    start = str(tokenizer.decode([before], clean_up_tokenization_spaces=False))
    pairs = tokenizer.batch_decode([[before, number] for number in ids], clean_up_tokenization_spaces=False)
    return {number: str(pair).removeprefix(start) for number, pair in zip(ids, pairs, strict=True)}


@cache
def _byte_alphabet() -> dict[int, int]:
    """Return the byte of each character that byte-level tokenizers write for one (as GPT-2 does), by their numbers."""
    printed = {*chain(range(ord("!"), ord("~") + 1), range(ord("¡"), ord("¬") + 1), range(ord("®"), ord("ÿ") + 1))}
    others = [byte for byte in range(256) if byte not in printed]
    return {byte: byte for byte in printed} | {256 + place: byte for place, byte in enumerate(others)}
