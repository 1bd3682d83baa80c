"""A game that can be loaded, and the games of one source."""

from __future__ import annotations

import hashlib
import shlex
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from alfworld_sft.errors import GameFileError
from alfworld_sft.games import layout
from alfworld_sft.types import TASK_TYPES, TaskType
from alfworld_sft.world.game import Game
from alfworld_sft.world.gamefile import load_game

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


@dataclass(frozen=True, slots=True, order=True)
class GameRef:
    """A game that can be loaded. Refs sort by id; `task_type` and `scene` are what the place says, if it does.

    A game is read from the file at `path`, or comes from `make` where there is no file.
    """

    id: str
    split: str
    sha256: str
    path: Path | None = field(default=None, compare=False)
    task_type: TaskType | None = field(default=None, compare=False)
    scene: int | None = field(default=None, compare=False)
    make: Callable[[], Game] | None = field(default=None, compare=False, repr=False)

    def load(self) -> Game:
        """Read and validate the game, or make it; raises GameFileError."""
        if self.make is not None:
            return self.make()
        if self.path is None:
            raise GameFileError(self.id, "it has neither a file nor a way to be made")
        return load_game(self.path, game_id=self.id, split=self.split)


@dataclass(frozen=True, slots=True)
class Games:
    """The games found in one source: refs sorted by id, where they lie, and what was skipped, sorted by path."""

    refs: tuple[GameRef, ...]
    split: str
    folder: Path
    description: str
    skipped_files: tuple[SkippedFile, ...] = ()

    def __len__(self) -> int:
        return len(self.refs)

    def __iter__(self) -> Iterator[GameRef]:
        return iter(self.refs)

    @property
    def skipped(self) -> dict[str, int]:
        """Count what was skipped, by reason."""
        return count_reasons(self.skipped_files)

    @property
    def warning(self) -> str | None:
        """What was skipped, in one line with the first reason and the command that lists all; None for nothing."""
        if not self.skipped_files:
            return None
        number = len(self.skipped_files)
        return (
            f"skipped {number:,} of {number + len(self):,} games: {skipped_in_words(self.skipped)}"
            f" (the first: {self.skipped_files[0]}); to list them:"
            f" alfworld-sft games list --source {shlex.quote(str(self.folder))} --split {self.split} --skipped"
        )

    @property
    def sha256(self) -> str:
        """One hash of all ids and contents: equal hashes mean the same games."""
        lines = "".join(f"{ref.id}\t{ref.sha256}\n" for ref in self.refs)
        return hashlib.sha256(lines.encode()).hexdigest()

    @property
    def counts(self) -> dict[TaskType | None, int]:
        """Games by task type in the order of TASK_TYPES; None counts those whose place does not name one."""
        found = Counter(ref.task_type for ref in self.refs)
        order: tuple[TaskType | None, ...] = (*TASK_TYPES, None)
        return {task_type: found[task_type] for task_type in order if found[task_type]}


class SkippedFile(NamedTuple):
    """A file or a trial's folder that gives no game, and why; `detail` says it more exactly where it is known."""

    path: Path
    reason: str
    detail: str | None = None

    def __str__(self) -> str:
        return f"{layout.plain_text(str(self.path))}: {self.detail or self.reason}"


def count_reasons(skipped_files: Iterable[SkippedFile]) -> dict[str, int]:
    """Count skipped files by reason, sorted by reason."""
    return dict(sorted(Counter(file.reason for file in skipped_files).items()))


def skipped_in_words(skipped: Mapping[str, int]) -> str:
    """Return `N REASON, N REASON …`; empty where nothing was skipped."""
    return ", ".join(f"{count:,} {reason}" for reason, count in skipped.items())
