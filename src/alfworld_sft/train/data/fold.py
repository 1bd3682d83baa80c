"""What is prefix folding? The rows of one trajectory become one conversation with a weight for each turn.

Row k of a multi-turn dataset holds turns 1 to k, so a turn occurs in many rows. Training row by row reads K rows for K
turns; one pass over the longest row gives the same gradient if each turn's loss has the sum of its weights in all rows.
This module is pure: no tokens, only rows and turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from alfworld_sft.types import Message

Weighting = Literal["uniform", "cumulative"]
"""uniform: a turn counts once, in the shortest row that trains it; cumulative: once in every row that trains it."""


@dataclass(frozen=True, slots=True)
class Part:
    """The contribution of one row: its number of turns, and the turns (from 0) that carry no loss."""

    place: str
    messages: int
    turns: int
    untrained: frozenset[int]


@dataclass(frozen=True, slots=True)
class TurnWeights:
    """Weights by turn. `trained`: of the reply's loss. `held`: of everything before it, trained or not.

    A row with an untrained reply still shows a true observation before it; `held` is the weight of that observation.
    """

    trained: tuple[float, ...]
    held: tuple[float, ...]


class Chain:
    """Rows that are all prefixes of the longest one. Only the longest one's messages are kept."""

    def __init__(self, messages: tuple[Message, ...], part: Part) -> None:
        self.messages = messages
        self._parts = [part]

    def add(self, messages: tuple[Message, ...], part: Part) -> bool:
        """Add a row if it continues this chain or is part of it; return whether it was added."""
        shorter, longer = sorted((self.messages, messages), key=len)
        if longer[: len(shorter)] != shorter:
            return False
        self.messages = longer
        self._parts.append(part)
        return True

    def message_after(self, messages: int, reply: str) -> Message | None:
        """Return what follows the first `messages`, if they end in this reply; else None."""
        if len(self.messages) <= messages or self.messages[messages - 1].content != reply:
            return None
        return self.messages[messages]

    @property
    def parts(self) -> list[Part]:
        """The rows, shortest first."""
        return sorted(self._parts, key=lambda part: part.messages)


def add_to_chains(chains: list[Chain], messages: tuple[Message, ...], part: Part) -> None:
    """Add a row to its chain; one that is neither a prefix nor a continuation starts a new chain."""
    if not any(chain.add(messages, part) for chain in chains):
        chains.append(Chain(messages, part))


def weights_by_row(parts: Sequence[Part], weighting: Weighting) -> list[TurnWeights]:
    """Return every turn's weight in every row in row-by-row training; `parts` are a chain's, shortest first."""
    trained_before: set[int] = set()
    held_before: set[int] = set()
    weights: list[TurnWeights] = []
    for part in parts:
        turns = range(part.turns)
        trained = [turn not in part.untrained and turn not in trained_before for turn in turns]
        held = [turn not in held_before for turn in turns]
        if weighting == "uniform":
            trained_before.update(turn for turn in turns if trained[turn])
            held_before.update(turns)
        weights.append(TurnWeights(tuple(map(float, trained)), tuple(map(float, held))))
    return weights


def fold(weights: Iterable[TurnWeights]) -> TurnWeights:
    """Return the weights of the one conversation that replaces several rows: their sums, turn by turn."""
    rows = list(weights)
    turns = max(len(row.trained) for row in rows)
    return TurnWeights(
        tuple(sum(row.trained[turn] for row in rows if turn < len(row.trained)) for turn in range(turns)),
        tuple(sum(row.held[turn] for row in rows if turn < len(row.held)) for turn in range(turns)),
    )
