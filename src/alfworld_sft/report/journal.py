"""How is a journal read that another process may be writing? Without a lock, and without a change to the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from alfworld_sft.errors import RunFolderError, os_reason
from alfworld_sft.runs.records import from_line
from alfworld_sft.runs.store import JOURNAL
from alfworld_sft.types import Episode


@dataclass(frozen=True, slots=True)
class Failed:
    """An episode that ended in an error, and why."""

    index: int
    game_id: str
    error: str


@dataclass(frozen=True, slots=True)
class Journal:
    """The episodes of a run as they were when the journal was opened; only their offsets are in memory."""

    path: Path
    spans: dict[int, tuple[int, int]]
    failed: tuple[Failed, ...]

    def __len__(self) -> int:
        return len(self.spans)

    def episodes(self) -> Iterator[Episode]:
        """Yield the episodes that were played to their end by index, one at a time; raises RunFolderError."""
        with self.path.open("rb") as file:
            for index in sorted(self.spans):
                offset, length = self.spans[index]
                file.seek(offset)
                try:
                    yield from_line(file.read(length))
                except ValueError as error:
                    raise RunFolderError(f"{self.path}: the line at byte {offset} is {error}") from None


def open_journal(folder: Path) -> Journal:
    """Open a run's journal; of two lines for one episode the later counts, and a torn last line does not.

    Raises RunFolderError where there is none, or a line of it is no episode.
    """
    path = folder / JOURNAL
    spans: dict[int, tuple[int, int]] = {}
    failed: dict[int, Failed] = {}
    offset = 0
    try:
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                index, game_id, error = _read_head(line, path, offset)
                if error is None:
                    spans[index] = (offset, len(line))
                    failed.pop(index, None)
                else:
                    failed[index] = Failed(index, game_id, error)
                    spans.pop(index, None)
                offset += len(line)
    except OSError as failure:
        raise RunFolderError(f"{path}: {os_reason(failure)}") from None
    return Journal(path, spans, tuple(failed[index] for index in sorted(failed)))


def _read_head(line: bytes, path: Path, offset: int) -> tuple[int, str, str | None]:
    try:
        record = json.loads(line)
        error = record["error"]
        return int(record["index"]), str(record["game_id"]), None if error is None else str(error)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise RunFolderError(f"{path}: the line at byte {offset} is no episode") from None
