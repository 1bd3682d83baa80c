"""Which episodes does a journal hold? It is never locked or cut here, so a run may still be playing.

Memory holds only where the lines are. Of two lines for one episode the later counts, and a torn last line does not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from alfworld_sft.errors import RunFolderError, file_errors
from alfworld_sft.runs.records import from_line
from alfworld_sft.types import Episode


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """Where the line of a played episode is: the episode's number and game, and offset and length in bytes."""

    index: int
    game_id: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True, order=True)
class Failed:
    """An episode that ended in an error, and why."""

    index: int
    game_id: str
    error: str


@dataclass(frozen=True, slots=True)
class Journal:
    """The episodes of a run as they were when the journal was read, in the order of their first lines.

    `torn` says that the last line is cut off.
    """

    path: Path
    lines: dict[int, Line | Failed]
    torn: bool = False

    def __len__(self) -> int:
        return sum(1 for _ in self._played())

    @property
    def failed(self) -> list[Failed]:
        """The episodes that ended in an error, by index."""
        return sorted(line for line in self.lines.values() if isinstance(line, Failed))

    @property
    def by_game(self) -> dict[str, list[Line]]:
        """The lines of the played episodes, game by game."""
        games: dict[str, list[Line]] = {}
        for line in self._played():
            games.setdefault(line.game_id, []).append(line)
        return games

    def episodes(self) -> Iterator[Episode]:
        """Yield the played episodes by index, one at a time; raises RunFolderError."""
        return read_episodes(self.path, sorted(self._played()))

    def _played(self) -> Iterator[Line]:
        return (line for line in self.lines.values() if isinstance(line, Line))


def read_journal(path: Path) -> Journal:
    """Find the lines of a journal; raises UserError where it cannot be read or a line is no episode."""
    with file_errors("read", path, "name a run's folder that can be read"), path.open("rb") as file:
        lines, end = index_lines(file, path)
        return Journal(path, lines, torn=file.tell() > end)


def index_lines(file: BinaryIO, path: Path) -> tuple[dict[int, Line | Failed], int]:
    """Return the lines of an open journal by episode, and the offset where the last complete one ends.

    Raises RunFolderError, which names the path, where a line is no episode.
    """
    lines: dict[int, Line | Failed] = {}
    offset = 0
    for line in file:
        if not line.endswith(b"\n"):
            break
        try:
            record = json.loads(line)
            index, game_id, error = int(record["index"]), str(record["game_id"]), record["error"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise RunFolderError(f"{path}: the line at byte {offset} is no episode") from None
        lines[index] = line_of(index, game_id, error if error is None else str(error), offset, len(line))
        offset += len(line)
    return lines, offset


def line_of(index: int, game_id: str, error: str | None, offset: int, length: int) -> Line | Failed:
    """Return what a journal's line says of its episode."""
    return Line(index, game_id, offset, length) if error is None else Failed(index, game_id, error)


def read_episodes(path: Path, lines: Iterable[Line]) -> Iterator[Episode]:
    """Yield the episodes of some lines; raises RunFolderError for one that is no episode."""
    with path.open("rb") as file:
        for line in lines:
            file.seek(line.offset)
            try:
                yield from_line(file.read(line.length))
            except ValueError as error:
                raise RunFolderError(f"{path}: the line at byte {line.offset} is {error}") from None


def find_episode(path: Path, index: int) -> Episode:
    """Return one episode by its number; raises RunFolderError where the journal holds no such one."""
    journal = read_journal(path)
    line = journal.lines.get(index)
    if not isinstance(line, Line):
        raise RunFolderError(f"{path}: there is no episode {index}, only {len(journal)}; they count from 0")
    return next(read_episodes(path, [line]))
