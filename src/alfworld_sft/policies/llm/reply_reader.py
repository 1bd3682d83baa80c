"""When has a sampled reply ended, and what does it say? Tokens → text → Reply."""

from __future__ import annotations

from collections.abc import Sequence

from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.policies.llm.sampling import cut_reply, has_ended, stop_of
from alfworld_sft.policies.llm.turn import Turn
from alfworld_sft.types import Reply

_TAIL = 16  # enough tokens to contain any stop string, which has no more characters


class ReplyReader:
    """Reads the replies of a model; `ends` are the tokens that end its turn."""

    def __init__(self, encoder: ChatEncoder, ends: frozenset[int]) -> None:
        self._encoder, self.ends = encoder, ends
        self._closing: dict[int, bool] = {}

    def has_ended(self, turn: Turn) -> bool:
        """Return whether the reply is complete, or at the limit of its tokens."""
        if turn.restricted is not None:
            return turn.restricted.done
        stop = stop_of(turn.prompt)
        if turn.said[-1] in self.ends or len(turn.said) >= turn.room:
            return True
        if stop is None or not self._closes(turn.said[-1], stop[-1]):
            return False
        if stop not in self.text(turn.said[-_TAIL:]):
            return False
        return has_ended(self._encoder.opening + self.text(turn.said), turn.prompt)

    def read(self, turn: Turn, *, keep_token_ids: bool) -> Reply:
        """Return the reply. Its ids are all sampled tokens, including the end of turn or a tag's last token.

        Its text begins with any thought opened by the prompt, without the text that the chat template puts before
        replies.
        """
        ended = turn.said[-1] in self.ends
        said = turn.said[:-1] if ended else turn.said
        inserted = self._encoder.inserted_ids
        if inserted and said[: len(inserted)] == inserted:
            said = said[len(inserted) :]
        text = self._encoder.opening + self.text(said)
        return Reply(
            cut_reply(text, turn.prompt, stopped=False),
            prompt_token_ids=tuple(turn.ids) if keep_token_ids else None,
            token_ids=tuple(turn.said) if keep_token_ids else None,
            logprobs=tuple(turn.logprobs) if keep_token_ids else None,
            prompt_tokens=len(turn.ids),
            reply_tokens=len(turn.said),
            constrained_from=turn.restricted.since if turn.restricted else None,
        )

    def text(self, ids: Sequence[int]) -> str:
        """Return what tokens say, without control tokens; a reply's tags are text even if they are single tokens."""
        spelt = [number for number in ids if number not in self._encoder.control_ids]
        return str(self._encoder.tokenizer.decode(spelt, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _closes(self, token: int, character: str) -> bool:
        """Return whether a token contains the stop string's last character; only then search for all of it."""
        known = self._closing.get(token)
        if known is None:
            known = self._closing[token] = character in self.text([token])
        return known
