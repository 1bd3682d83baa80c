"""A game that can be loaded, and the games of one source."""

from __future__ import annotations

import hashlib
import shlex
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple, Protocol

from alfworld_sft.errors import GameFileError, GamesNotFoundError
from alfworld_sft.games import layout
from alfworld_sft.seeds import derive_seed
from alfworld_sft.types import TASK_TYPES, TaskType
from alfworld_sft.world.game import Game
from alfworld_sft.world.gamefile import load_game

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence


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
        return load_game(self.path, game_id=self.id, split=self.split, sha256=self.sha256)


class GameSource(Protocol):
    """The games that a run plays: episode i plays `ref(i)`, whoever asks and whatever was asked for before."""

    @property
    def total(self) -> int | None:
        """How many games there are; None where they have no end, and every episode plays a game of its own."""

    @property
    def split(self) -> str:
        """The split that the games are of."""

    @property
    def description(self) -> str:
        """What the games are, for every output that names them."""

    @property
    def sha256(self) -> str:
        """One hash of the games: equal hashes mean the same ones."""

    @property
    def folder(self) -> Path | None:
        """Where the games are read from; None where they come with the package or are made."""

    @property
    def skipped(self) -> Mapping[str, int]:
        """What was skipped, by reason."""

    @property
    def warning(self) -> str | None:
        """What to say of skipped games; None for nothing."""

    def ref(self, index: int) -> GameRef:
        """Return the game that the episode of this number plays."""

    def first(self, number: int) -> ShuffledGames:
        """Return those games alone that the first episodes play, or all where there are no more."""


def make_game(source: GameSource, number: int) -> Game:
    """Make the game that an episode plays, when it is played: many made games would fill the memory."""
    return source.ref(number).load()


@dataclass(slots=True)
class ShuffledGames:
    """Games in an order without end, a `GameSource`: all of them shuffled, then all again in another order.

    The order depends on the games and the seed alone. The rest says of what was found how it is named, where it lies
    and what was skipped.
    """

    refs: tuple[GameRef, ...]
    seed: int
    split: str
    description: str
    folder: Path | None = None
    skipped: Mapping[str, int] = field(default_factory=dict)
    warning: str | None = None
    _round: tuple[int, list[GameRef]] | None = field(default=None, init=False, compare=False, repr=False)

    @property
    def total(self) -> int:
        """How many games there are."""
        return len(self.refs)

    @property
    def sha256(self) -> str:
        """One hash of all ids and contents: equal hashes mean the same games."""
        return hash_of(self.refs)

    def ref(self, index: int) -> GameRef:
        """Return the game that the episode of this number plays."""
        number, place = divmod(index, len(self.refs))
        if self._round is None or self._round[0] != number:
            shuffled = sorted(self.refs)
            Random(derive_seed(self.seed, "games", number)).shuffle(shuffled)
            self._round = number, shuffled
        return self._round[1][place]

    def first(self, number: int) -> ShuffledGames:
        """Return those games alone that the first episodes play, or all where there are no more."""
        if number >= self.total:
            return self
        refs = tuple(sorted(map(self.ref, range(number))))
        return replace(self, refs=refs, description=f"{number} of {self.description}")


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
        return hash_of(self.refs)

    def shuffled(self, seed: int, task_types: Sequence[TaskType] | None = None) -> ShuffledGames:
        """Return the games (of some task types) in the order that a run plays them; raises GamesNotFoundError."""
        refs = tuple(ref for ref in self.refs if task_types is None or _task_type(ref) in task_types)
        if not refs:
            types = ", ".join(task_types or [])
            raise GamesNotFoundError(f"no games of the task types {types} among {self.description}")
        folder = self.folder if any(ref.path for ref in refs) else None
        return ShuffledGames(refs, seed, self.split, self.description, folder, self.skipped, self.warning)

    @property
    def counts(self) -> dict[TaskType | None, int]:
        """Games by task type in the order of TASK_TYPES; None counts those whose place does not name one."""
        found = Counter(ref.task_type for ref in self.refs)
        order: tuple[TaskType | None, ...] = (*TASK_TYPES, None)
        return {task_type: found[task_type] for task_type in order if found[task_type]}


def hash_of(refs: Iterable[GameRef]) -> str:
    """Return one hash of the games' ids and contents, in their order."""
    return hashlib.sha256("".join(f"{ref.id}\t{ref.sha256}\n" for ref in refs).encode()).hexdigest()


def _task_type(ref: GameRef) -> TaskType:
    return ref.task_type or ref.load().task_type


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
