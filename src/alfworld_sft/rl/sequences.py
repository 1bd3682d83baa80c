"""How does an episode become the token sequences that it was sampled as?

The turns of an episode fold into one sequence for as long as a prompt's ids begin with everything before them. Where
they do not (a reply that the tokenizer writes otherwise, a template that strips thoughts), the turn begins a new
sequence with its own prompt: sampled tokens are never tokenised again, and each has the context that it was sampled in.

So episodes may be played as they are evaluated, in either form and by a server as well. `policies.llm.growing`, for
trainers that take one sequence per episode, changes the prompts instead: it leaves every reply as it was sampled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alfworld_sft.errors import UserError
from alfworld_sft.models.loss_mask import TokenKind
from alfworld_sft.train.data.sample import Sample
from alfworld_sft.types import Episode, Reply

NO_TURN = -1
"""The turn of a token that was not sampled."""


@dataclass
class FoldedTurns:
    """Turns as one sequence: for each token its id, the turn that sampled it (from 0, or NO_TURN) and its
    log-probability then (else 0).
    """

    ids: list[int] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    def add(self, ids: Sequence[int], turn: int, logprobs: Sequence[float]) -> None:
        """Append tokens of one turn, or of no turn."""
        self.ids += ids
        self.turns += [turn] * len(ids)
        self.logprobs += logprobs


@dataclass(frozen=True, slots=True)
class SampledTurn:
    """The tokens of one turn: its prompt, the reply, and the reply's log-probabilities."""

    prompt: Sequence[int]
    said: Sequence[int]
    logprobs: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedSample(Sample):
    """A sequence to train on. For each token: its log-probability when it was sampled, and its advantage (else 0)."""

    logprobs: NDArray[np.float32]  # (tokens,)
    advantages: NDArray[np.float32]  # (tokens,)


def turns_of(episode: Episode) -> list[SampledTurn]:
    """Return an episode's turns; raises UserError if the policy did not report its tokens."""
    return [_turn_of(step.reply, episode) for step in episode.steps]


def _turn_of(reply: Reply, episode: Episode) -> SampledTurn:
    if reply.prompt_token_ids is None or reply.token_ids is None or reply.logprobs is None:
        raise UserError(
            f"{episode.policy} does not report token ids and log-probabilities, which are what is trained;"
            " use vLLM (return_token_ids, logprobs), or policy.name=local"
        )
    return SampledTurn(reply.prompt_token_ids, reply.token_ids, reply.logprobs)


def fold_turns(turns: Sequence[SampledTurn]) -> list[FoldedTurns]:
    """Return the sequences of an episode's turns, as few as hold every reply in the context it was sampled in."""
    sequences: list[FoldedTurns] = []
    for number, turn in enumerate(turns):
        if not sequences or list(turn.prompt[: len(sequences[-1].ids)]) != sequences[-1].ids:
            sequences.append(FoldedTurns())
        new = turn.prompt[len(sequences[-1].ids) :]
        sequences[-1].add(new, NO_TURN, [0.0] * len(new))
        sequences[-1].add(turn.said, number, turn.logprobs)
    return sequences


def played_samples(episode: Episode, advantages: Sequence[float], trained: Sequence[bool]) -> Iterator[PlayedSample]:
    """Yield an episode's sequences with the advantage of each turn; tokens of turns not `trained` are context only.

    A sequence without a trained turn is left out.
    """
    by_turn = np.array([*advantages, 0.0], dtype=np.float32)  # NO_TURN is the last one
    weights = np.array([*trained, False], dtype=np.float32)
    for sequence in fold_turns(turns_of(episode)):
        turns = np.array(sequence.turns)
        weight = weights[turns]
        if not weight.any():
            continue
        yield PlayedSample(
            ids=np.array(sequence.ids, dtype=np.int32),
            weight=weight,
            kind=np.full(len(turns), int(TokenKind.OTHER_REPLY), dtype=np.uint8),
            rows=1,
            truncated=False,
            key=episode.id,
            logprobs=np.array(sequence.logprobs, dtype=np.float32),
            advantages=by_turn[turns],
        )
