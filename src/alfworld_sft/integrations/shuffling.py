"""In which order does `numpy.random.RandomState(seed)` shuffle a list? The same, without numpy.

numpy's legacy generator is the Mersenne twister MT19937 that Python's `random` has too; only the seeding and the way
to a bounded integer differ. Both are fixed: numpy guarantees `RandomState`'s stream (NEP 19).
"""

from __future__ import annotations

import operator
import random
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any, TypeVar

Item = TypeVar("Item")

_STATE_WORDS = 624
_WORD_BITS = 32
_KNUTH_MULTIPLIER = 1812433253
"""Of the initialisation that Matsumoto and Nishimura published with MT19937 in 2002."""


class LegacyShuffler:
    """Shuffles as `numpy.random.RandomState(seed)` does; without a seed the system's entropy gives one."""

    def __init__(self, seed: Any = None) -> None:
        """Raises ValueError for a seed outside 0 … 2**32 - 1, TypeError for what is no integer."""
        number = random.SystemRandom().getrandbits(_WORD_BITS) if seed is None else operator.index(seed)
        if not 0 <= number < 2**_WORD_BITS:
            raise ValueError(f"Seed must be between 0 and 2**32 - 1, not {number}")
        self._bits = random.Random()
        self._bits.setstate((3, (*_initial_state(number), _STATE_WORDS), None))

    def shuffle(self, items: list[Any]) -> None:
        """Shuffle a list in place."""
        for last in range(len(items) - 1, 0, -1):
            other = self._at_most(last)
            items[last], items[other] = items[other], items[last]

    def _at_most(self, highest: int) -> int:
        """Return an integer from 0 to `highest`: whole words, masked, until one fits."""
        mask = (1 << highest.bit_length()) - 1
        while True:
            number = self._bits.getrandbits(_WORD_BITS) & mask
            if number <= highest:
                return number


def shuffled_cycle(iterable: Iterable[Item], rng: Any, nb_loops: int = -1) -> Iterator[Item]:
    """Yield the items as they come, then in the order of a new shuffle, `nb_loops` times; without end if negative."""
    items = []
    for item in iterable:
        items.append(item)
        yield item
    if not items:
        return
    for _ in count() if nb_loops < 0 else range(nb_loops):
        rng.shuffle(items)
        yield from items


def _initial_state(seed: int) -> list[int]:
    state = [seed]
    for index in range(1, _STATE_WORDS):
        previous = state[-1]
        state.append((_KNUTH_MULTIPLIER * (previous ^ previous >> 30) + index) & 0xFFFFFFFF)
    return state
