"""What is a turn while its reply is being sampled? Its tokens so far, its own draws, and what may come next."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from alfworld_sft.policies.llm.constrain import ANYTHING, Choice, RestrictedReply, Spelling
from alfworld_sft.types import Prompt, Reply


@dataclass(eq=False)
class Turn:
    """A prompt in progress: its tokens, the reply so far, and the future waiting for the reply.

    The model has read the first `read` tokens of the reply.
    """

    player: object  # whose turn it is; the model keeps its cache
    prompt: Prompt
    ids: list[int]
    room: int  # maximum tokens of the reply
    answer: asyncio.Future[Reply]
    spelling: Spelling | None  # None: the reply is free
    said: list[int] = field(init=False)
    logprobs: list[float] = field(init=False)
    read: int = field(init=False)
    draws: Random = field(init=False)
    restricted: RestrictedReply | None = field(init=False)
    next: Choice = field(init=False)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin the reply, or begin it again: the same generator repeats the same draws."""
        self.said, self.logprobs, self.read = [], [], 0
        self.draws = Random(self.prompt.seed)
        self.restricted = RestrictedReply(self.spelling, self.prompt) if self.spelling else None
        self.next = ANYTHING

    def choice(self) -> Choice | None:
        """Return what may come next; None if the reply is done, or has tokens that the model has to read first."""
        if not self.said:
            self._say_forced()
        return self.next if self.read == len(self.said) else None

    def say(self, token: int, logprob: float) -> None:
        """Add a token, and all that is forced to follow; where an end of turn stands for the action's tag, add that."""
        written = self.restricted.say(token) if self.restricted else (token,)
        self._write(written, logprob)
        self._say_forced()

    def settle(self, result: Reply | BaseException) -> None:
        """Pass the reply, or an error, from the computing thread to the waiting episode."""

        def set_result() -> None:
            if self.answer.done():
                return
            if isinstance(result, BaseException):
                self.answer.set_exception(result)
            else:
                self.answer.set_result(result)

        with suppress(RuntimeError):  # the loop is closed, so there is no waiting caller
            self.answer.get_loop().call_soon_threadsafe(set_result)

    def _say_forced(self) -> None:
        while self.restricted and not self.restricted.done:
            self.next = self.restricted.choice(cut=len(self.said) >= self.room)
            if not self.next.forced:
                return
            self._write([number for token in self.next.forced for number in self.restricted.say(token)], 0.0)

    def _write(self, tokens: Sequence[int], logprob: float) -> None:
        """Add tokens of which only the first was a choice."""
        self.said += tokens
        self.logprobs += [logprob, *([0.0] * (len(tokens) - 1))]
