"""Which game does an episode of a bridge play? `GamePool` finds games by number or id, draws them, and keeps some."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import SupportsIndex

from alfworld_sft.errors import UserError
from alfworld_sft.games import GENERATE, GameRef, GameStream, find_games
from alfworld_sft.games.generator.tasks import check_task_types
from alfworld_sft.games.sources import EMBEDDED, resolve_source
from alfworld_sft.types import TaskType
from alfworld_sft.world import Game

_CACHED_GAMES = 512
"""How many games stay in memory, over all bridges of the process."""
STREAM_NUMBERS = 2**31
"""Generated games are drawn by a number below this."""


class GamePool:
    """The games of a source and split, numbered from 0 in the order of their ids.

    `source` is one of `games.find_games`, or "generate" for games without end, numbered by the stream of `games_seed`.
    Raises UserError where there are no such games.
    """

    def __init__(
        self,
        source: str | Path | None = None,
        split: str = "train",
        task_types: Sequence[TaskType] | None = None,
        games_seed: int = 0,
    ) -> None:
        check_task_types(task_types)
        if source == GENERATE:
            stream = GameStream(games_seed, split, task_types)
            self.description = stream.description
            self.total: int | None = None
            self._ref: Callable[[int], GameRef] = stream.ref
            self._numbers: Mapping[str, int] = {}
            return
        found = find_games(source, split).shuffled(games_seed, task_types)
        refs = tuple(sorted(found.refs))
        self.description = found.description
        self.total = len(refs)
        self._ref = refs.__getitem__
        self._numbers = {ref.id: number for number, ref in enumerate(refs)}

    def load(self, which: SupportsIndex | str) -> Game:
        """Return the game of this number or id; raises UserError where there is none, or its file is broken."""
        number = self._number(which)
        ref = self._ref(number)
        return ref.load() if self.total is None else load_once(ref)

    def draw(self, integer_below: Callable[[int], int]) -> Game:
        """Return a random game, all equally likely; `integer_below(n)` gives a random number from 0 to n-1."""
        return self.load(int(integer_below(self.total or STREAM_NUMBERS)))

    def _number(self, which: SupportsIndex | str) -> int:
        if isinstance(which, str):
            if which not in self._numbers:
                close = get_close_matches(which, self._numbers, 1)
                hint = f"did you mean {close[0]!r}?" if close else "name one by its number or id"
                raise UserError(f"no game {which[:200]!r} among {self.description}; {hint}")
            return self._numbers[which]
        if isinstance(which, bool) or not isinstance(which, SupportsIndex):
            raise UserError(f"a game is named by its number or its id, not by {type(which).__name__}")
        number = which.__index__()
        if not 0 <= number < (self.total or STREAM_NUMBERS):
            raise UserError(
                f"no game {number} among {self.description}; numbers are 0 to {(self.total or STREAM_NUMBERS) - 1}"
            )
        return number


def shared_pool(
    source: str | Path | GamePool | None = None,
    split: str = "train",
    task_types: Sequence[TaskType] | None = None,
    games_seed: int = 0,
) -> GamePool:
    """Return the pool of these arguments, found once in a process: frameworks make an environment for each episode.

    A pool is returned as it is. Files that are added later are seen by `GamePool` alone.
    """
    if isinstance(source, GamePool):
        return source
    types = task_types if task_types is None or isinstance(task_types, str) else tuple(task_types)
    found = resolve_source(source)
    place = found if found in (EMBEDDED, GENERATE) else os.path.abspath(os.path.expanduser(found))  # noqa: PTH100, PTH111
    return _find_pool(place, split, types, games_seed)


@lru_cache(maxsize=16)
def _find_pool(source: str | Path, split: str, task_types: tuple[TaskType, ...] | None, games_seed: int) -> GamePool:
    return GamePool(source, split, task_types, games_seed)


@lru_cache(maxsize=_CACHED_GAMES)
def load_once(ref: GameRef) -> Game:
    """Return a game, which stays in memory for a while; raises GameFileError where its file is broken or gone."""
    return ref.load()
