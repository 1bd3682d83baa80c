"""How is a conversation sampled as one growing sequence of tokens? For learning from exactly what was sampled.

Each prompt is the tokens of the last one, the sampled reply, and what the chat template writes between a reply and the
next. Nothing that was sampled is encoded anew, so a model in training reads the same tokens as the model that played.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alfworld_sft.errors import PolicyError
from alfworld_sft.policies.llm.local import LocalModel, LocalPlayer
from alfworld_sft.types import Prompt, Reply
from alfworld_sft.world import Game


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """An episode's tokens: its first prompt, and everything after it.

    `sampled` and `logprobs` have one entry per token of `completion_ids`: 1 exactly where the model sampled it, and its
    log-probability; 0 elsewhere.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    sampled: list[int]
    logprobs: list[float]


class GrowingModel:
    """A policy for the multi-turn form; `model` must keep token ids and is closed by its owner.

    An episode ends with a PolicyError before a reply that might exceed `max_completion_tokens`, where `max_tokens` is
    the longest reply, so that no reply is cut by it. None sets no limit but the model's context.
    """

    def __init__(self, model: LocalModel, max_tokens: int, max_completion_tokens: int | None = None) -> None:
        self._model = model
        self._last_start = None if max_completion_tokens is None else max_completion_tokens - max_tokens

    @property
    def name(self) -> str:
        """The policy's name in every result."""
        return self._model.name

    @property
    def sampling(self) -> Mapping[str, object]:
        """The sampling parameters, for the stamp."""
        return self._model.sampling

    def begin(self, game: Game, seed: int) -> GrowingPlayer:
        """Return the player of an episode."""
        return GrowingPlayer(self._model, self._last_start)


class GrowingPlayer:
    """The player of one episode."""

    def __init__(self, model: LocalModel, last_start: int | None) -> None:
        self._encoder = model.encoder
        self._player = LocalPlayer(model)
        self._last_start = last_start
        self._first_length = 0
        self._ids: list[int] = []

    async def act(self, prompt: Prompt) -> Reply:
        """Wait for the reply; raises PolicyError if there is no room for it."""
        ids = self._continue(prompt) if self._ids else self._encoder.encode_prompt(prompt.messages)
        self._first_length = self._first_length or len(ids)
        used = len(ids) - self._first_length
        if self._last_start is not None and used > self._last_start:
            raise PolicyError(f"after {used} tokens there is no room for another reply")
        reply = await self._player.act(prompt, ids)
        self._ids = [*ids, *(reply.token_ids or ())]
        return reply

    def _continue(self, prompt: Prompt) -> list[int]:
        between = self._encoder.encode_follow_up(prompt.messages[-1].content)
        has_ended = between[0] == self._encoder.end_id == self._ids[-1]
        return [*self._ids, *between[has_ended:]]


def join_turns(replies: Sequence[Reply], end_id: int | None = None) -> TokenSequence:
    """Return an episode's tokens from the replies of a GrowingModel; there must be one.

    An `end_id` is appended if the last reply did not sample it: what ends the conversation, for a reader who looks for
    it there.
    """
    start = len(replies[0].prompt_token_ids or ())
    ids: list[int] = []
    sampled: list[int] = []
    logprobs: list[float] = []
    for reply in replies:
        between = (reply.prompt_token_ids or ())[start + len(ids) :]
        said = reply.token_ids or ()
        ids += [*between, *said]
        sampled += [0] * len(between) + [1] * len(said)
        logprobs += [0.0] * len(between) + list(reply.logprobs or ())
    if end_id is not None and ids[-1:] != [end_id]:
        ids.append(end_id)
        sampled.append(0)
        logprobs.append(0.0)
    return TokenSequence(list(replies[0].prompt_token_ids or ()), ids, sampled, logprobs)
