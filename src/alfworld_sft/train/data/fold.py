"""What is prefix folding? The rows of one trajectory become one conversation with a weight for each turn, and branches.

Row k of a multi-turn dataset holds turns 1 to k, so a turn occurs in many rows. Training row by row reads K rows for K
turns; one pass over the longest row gives the same gradient if each turn's loss has the sum of its weights in all rows.
A row whose last reply is not the one that the conversation continues (a teacher's answer) is a branch of it.
This module is pure: no tokens, only rows and turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from alfworld_sft.train.choices import Weighting
from alfworld_sft.types import Message


@dataclass(frozen=True, slots=True)
class Part:
    """The contribution of one row: its number of turns, and the turns (from 0) that carry no loss.

    `branch` is the row's last reply where it is not the conversation's own.
    """

    place: str
    messages: int
    turns: int
    untrained: frozenset[int]
    branch: Message | None = None


@dataclass(frozen=True, slots=True)
class TurnWeights:
    """Weights by turn. `trained`: of the reply's loss. `held`: of everything before it, trained or not.

    A row with an untrained reply still shows a true observation before it; `held` is the weight of that observation.
    """

    trained: tuple[float, ...]
    held: tuple[float, ...]


class Chain:
    """Rows that are all prefixes of the longest one, and branches. Only the longest one's messages are kept."""

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

    def graft(self, other: Chain) -> bool:
        """Add a chain as branches if only its last reply is not part of this conversation; return whether it was."""
        context = len(other.messages) - 1
        if not context or self.messages[:context] != other.messages[:-1]:
            return False
        leaving = len(self.messages) <= context or self.messages[context] != other.messages[-1]
        reply = other.messages[-1] if leaving else None
        self._parts += [replace(part, branch=reply) if part.messages > context else part for part in other._parts]
        return True

    def share(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """Return equal messages, with the chain's own objects where both begin alike: each text is in memory once."""
        pairs = zip(self.messages, messages, strict=False)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        return (*self.messages[:common], *messages[common:])

    def message_after(self, messages: int, hashed: int) -> Message | None:
        """Return what follows the first `messages` where their hash is this one; else None."""
        if len(self.messages) <= messages or hash(self.messages[:messages]) != hashed:
            return None
        return self.messages[messages]

    @property
    def parts(self) -> list[Part]:
        """The rows, shortest first."""
        return sorted(self._parts, key=lambda part: part.messages)


def add_to_chains(chains: list[Chain], messages: tuple[Message, ...], part: Part) -> None:
    """Add a row to its chain; one that is neither a prefix nor a continuation starts a new chain."""
    if not any(chain.add(messages, part) for chain in chains):
        longest = max(chains, key=lambda chain: len(chain.messages), default=None)
        chains.append(Chain(longest.share(messages) if longest else messages, part))


def graft_chains(chains: Sequence[Chain]) -> list[Chain]:
    """Return the chains of a trajectory with those that are branches of a longer one as part of it, in their order."""
    trunks: list[Chain] = []
    for chain in sorted(chains, key=lambda chain: -len(chain.messages)):
        if not any(trunk.graft(chain) for trunk in trunks):
            trunks.append(chain)
    return [chain for chain in chains if any(chain is trunk for trunk in trunks)]


def weights_by_row(parts: Sequence[Part], weighting: Weighting) -> list[TurnWeights]:
    """Return every turn's weight in every row in row-by-row training; `parts` are a chain's, shortest first.

    The reply of a branch is not that of the conversation's turn, but what precedes it is the same.
    """
    trained_before: set[tuple[int, Message | None]] = set()
    held_before: set[int] = set()
    weights: list[TurnWeights] = []
    for part in parts:
        turns = range(part.turns)
        replies = [(turn, part.branch if turn == turns[-1] else None) for turn in turns]
        trained = [turn not in part.untrained and replies[turn] not in trained_before for turn in turns]
        held = [turn not in held_before for turn in turns]
        if weighting == "uniform":
            trained_before.update(replies[turn] for turn in turns if trained[turn])
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
