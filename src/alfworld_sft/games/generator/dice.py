"""Chance that falls the same on every machine: all draws come from `random()`, whose sequence Python guarantees.

The other methods of `random.Random` may change between Python versions, so games must not depend on them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, MutableSequence, Sequence
from itertools import accumulate
from random import Random
from typing import Generic, TypeVar

T = TypeVar("T")


class Choices(Generic[T]):
    """Things to choose from, with their weights; made once, drawn from often. Raises ValueError without weight."""

    __slots__ = ("_bounds", "_values")

    def __init__(self, weighted: Iterable[tuple[T, float]]) -> None:
        pairs = [(value, weight) for value, weight in weighted if weight > 0]
        if not pairs:
            raise ValueError("there is nothing to choose from")
        self._values = [value for value, _ in pairs]
        self._bounds = list(accumulate(weight for _, weight in pairs))

    def weighed(self, factor: Callable[[T], float]) -> Choices[T] | None:
        """Return the choices with their weights times a factor; None where nothing is left."""
        weights = (bound - before for bound, before in zip(self._bounds, [0, *self._bounds], strict=False))
        pairs = [(value, weight * factor(value)) for value, weight in zip(self._values, weights, strict=True)]
        return Choices(pairs) if any(weight > 0 for _, weight in pairs) else None

    def at(self, share: float) -> T:
        """Return the value at `share`, in [0, 1), of the total weight."""
        return self._values[min(bisect_right(self._bounds, share * self._bounds[-1]), len(self._values) - 1)]


class Dice:
    """A stream of draws that a text decides."""

    __slots__ = ("_random",)

    def __init__(self, seed: str) -> None:
        self._random = Random(seed).random

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self._random() < probability

    def below(self, number: int) -> int:
        """Return one of 0 … number - 1."""
        return int(self._random() * number)

    def between(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + self._random() * (high - low)

    def pick(self, values: Sequence[T]) -> T:
        """Return one of the values."""
        return values[int(self._random() * len(values))]

    def choose(self, choices: Choices[T]) -> T:
        """Return one of the choices, by weight."""
        return choices.at(self._random())

    def shuffle(self, values: MutableSequence[T]) -> None:
        """Put the values into a random order."""
        for last in range(len(values) - 1, 0, -1):
            other = self.below(last + 1)
            values[last], values[other] = values[other], values[last]

    def round(self, number: float) -> int:
        """Return the integer below or above, so that the mean of many draws is `number`."""
        return int(number) + self.chance(number - int(number))
