"""Which episodes does a journal hold, game by game? It is only read, never locked or cut, so a run may still play."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from alfworld_sft.errors import RunFolderError, file_errors
from alfworld_sft.runs.records import from_line
from alfworld_sft.types import Episode


class Line(NamedTuple):
    """Where an episode's line is: the episode's number, and offset and length in bytes."""

    number: int
    offset: int
    length: int


@dataclass
class Journal:
    """The lines that count, by game. `failed` episodes ended in an error; `torn` says that the last line is cut off."""

    path: Path
    by_game: dict[str, list[Line]] = field(default_factory=dict)
    failed: int = 0
    torn: bool = False

    def __len__(self) -> int:
        return sum(map(len, self.by_game.values()))


def index_journal(path: Path) -> Journal:
    """Find the lines of a journal; of two for one episode the later counts. Raises RunFolderError for other lines."""
    games: dict[int, tuple[str, Line] | None] = {}  # None: the episode failed
    journal = Journal(path)
    with file_errors("read", path, "name a run's folder that can be read"), path.open("rb") as file:
        offset = 0
        for line in file:
            if not line.endswith(b"\n"):
                journal.torn = True
                break
            try:
                record = json.loads(line)
                index, game, error = int(record["index"]), str(record["game_id"]), record["error"]
            except (ValueError, TypeError, KeyError, RecursionError):
                raise RunFolderError(f"{path}: the line at byte {offset} is no episode") from None
            games[index] = (game, Line(index, offset, len(line))) if error is None else None
            offset += len(line)
    for found in games.values():
        if found is None:
            journal.failed += 1
        else:
            journal.by_game.setdefault(found[0], []).append(found[1])
    return journal


def read_episodes(path: Path, lines: Iterable[Line]) -> Iterator[Episode]:
    """Yield the episodes of some lines; raises RunFolderError for one that is no episode."""
    with path.open("rb") as file:
        for line in lines:
            file.seek(line.offset)
            try:
                yield from_line(file.read(line.length))
            except ValueError:
                raise RunFolderError(f"{path}: the line at byte {line.offset} is no episode") from None


def find_episode(path: Path, index: int) -> Episode:
    """Return one episode by its number; raises RunFolderError where the journal holds no such one."""
    journal = index_journal(path)
    for lines in journal.by_game.values():
        for line in lines:
            if line.number == index:
                return next(read_episodes(path, [line]))
    raise RunFolderError(f"{path}: there is no episode {index}, only {len(journal)}; they count from 0")
