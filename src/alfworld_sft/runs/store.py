"""What is in a run's folder? Its stamp `run.json`, its journal `episodes.jsonl`, and so which episodes are owed.

The journal gets one line per episode. A line counts once it is on disk with its line feed; a torn last line is cut off
and its episode is owed again, as is an episode that ended in an error. Of two lines for one episode the later counts.
Only where the lines are is kept in memory, so memory use does not grow with the size of the episodes.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from alfworld_sft.errors import RunFolderError, os_reason
from alfworld_sft.files import remove_partial, whole_file, whole_folder
from alfworld_sft.locks import lock
from alfworld_sft.runs.journal import Failed, Line, index_lines, line_of, read_episodes
from alfworld_sft.runs.records import to_line
from alfworld_sft.strict_json import to_json
from alfworld_sft.types import Episode

JOURNAL = "episodes.jsonl"
RUN_FILE = "run.json"
IMPORT = "import"
"""The kind of a folder whose episodes another project played: it is complete, and not resumed."""
SYNC_INTERVAL_S = 0.25


class RunFolder:
    """The folder of one run, open for reading and for appending episodes by this process alone."""

    def __init__(self, path: Path, *, is_new: bool = False) -> None:
        """Open an existing run; raises RunFolderError if it is not one, or if another process is writing it.

        `is_new`: this process has just created it.
        """
        self.path = path
        self.is_new = is_new
        self.stamp = read_stamp(path)
        self._unsynced = 0
        self._failure: OSError | None = None
        self._last_sync = time.monotonic()
        if (path / JOURNAL).is_symlink() or ((path / JOURNAL).exists() and not (path / JOURNAL).is_file()):
            raise RunFolderError(f"{path / JOURNAL} is a link or no plain file; only a plain file is written")
        try:
            self._file = (path / JOURNAL).open("r+b", buffering=0)
        except OSError as error:
            raise RunFolderError(f"{path / JOURNAL}: {os_reason(error)}") from None
        try:
            if not lock(self._file.fileno(), path):
                raise RunFolderError(f"{path}: another process is working on this run; wait for it or stop it")
            remove_partial(path)
            self._lines = self._read_journal()
        except OSError as error:
            self._file.close()
            raise RunFolderError(f"{error.filename or path / JOURNAL}: {os_reason(error)}") from None
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Sync and release the journal."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    def remove(self) -> None:
        """Close the run and delete its folder."""
        self._unsynced = 0
        self._file.close()
        shutil.rmtree(self.path)

    @property
    def kind(self) -> str:
        """The command that created this run."""
        return str(self.stamp.get("kind", "collect"))

    @property
    def played(self) -> int:
        """The number of episodes played to their end."""
        return sum(1 for _ in self._played_lines())

    @property
    def failed(self) -> dict[int, str]:
        """Episodes that ended in an error, by index, with the reason."""
        return {index: line.error for index, line in sorted(self._lines.items()) if isinstance(line, Failed)}

    def owed(self, total: int) -> Iterator[int]:
        """Yield the indices of a run of `total` episodes that have not been played to their end."""
        return (index for index in range(total) if not isinstance(self._lines.get(index), Line))

    def append(self, episode: Episode) -> None:
        """Add an episode to the journal; `sync` puts it on disk, and runs every SYNC_INTERVAL_S while appending."""
        self._append(episode.index, episode.game_id, to_line(episode), episode.error)

    def append_failure(self, index: int, game_id: str, error: str) -> None:
        """Record an episode that could not even begin; it stays owed."""
        line = to_json({"index": index, "game_id": game_id, "error": error})
        self._append(index, game_id, line.encode() + b"\n", error)

    def _append(self, index: int, game_id: str, line: bytes, error: str | None) -> None:
        if self._failure:  # a line behind one that is torn would make the journal unreadable
            raise self._unwritten(self._failure)
        try:
            offset = self._file.seek(0, os.SEEK_END)
            written = 0
            while written < len(line):
                written += self._file.write(line[written:]) or 0
            self._lines[index] = line_of(index, game_id, error, offset, len(line))
            self._unsynced += 1
            if time.monotonic() - self._last_sync >= SYNC_INTERVAL_S:
                self.sync()
        except OSError as failure:
            self._failure = failure
            raise self._unwritten(failure) from failure

    def sync(self) -> None:
        """Flush everything appended to disk."""
        if self._unsynced:
            try:
                os.fsync(self._file.fileno())
            except OSError as failure:
                raise self._unwritten(failure) from failure
            self._unsynced = 0
        self._last_sync = time.monotonic()

    def _unwritten(self, failure: OSError) -> RunFolderError:
        return RunFolderError(
            f"{self.path / JOURNAL}: {os_reason(failure)}; make room, then: {resume_command(self.kind, self.path)}"
        )

    def episodes(self) -> Iterator[Episode]:
        """Yield the episodes played to their end by index, one at a time; raises RunFolderError."""
        return read_episodes(self.path / JOURNAL, sorted(self._played_lines()))

    def _played_lines(self) -> Iterator[Line]:
        return (line for line in self._lines.values() if isinstance(line, Line))

    def write_stamp(self, stamp: dict[str, Any]) -> None:
        """Replace `run.json`."""
        _write_stamp(self.path, stamp)
        self.stamp = stamp

    def _read_journal(self) -> dict[int, Line | Failed]:
        """Return the line of each episode; cut off a torn last line."""
        with (self.path / JOURNAL).open("rb") as journal:
            lines, end = index_lines(journal, self.path / JOURNAL)
            if journal.tell() > end:
                os.ftruncate(self._file.fileno(), end)
        return lines


def create_run(parent: Path, stamp: dict[str, Any], *, name: str | None = None, prefix: str = "sft_data") -> RunFolder:
    """Create and open a new run's folder, with its stamp and an empty journal.

    Its default name is `<prefix>_YYYYMMDD_HHMMSS`. It appears complete or not at all; raises RunFolderError if it
    exists or cannot be created.
    """
    start = datetime.now()  # local time: the name is for people
    names = [name] if name else [f"{prefix}_{start + timedelta(seconds=s):%Y%m%d_%H%M%S}" for s in range(60)]
    if Path(names[0]).name != names[0]:
        raise RunFolderError(f"name '{names[0]}': a folder's name, without a path; say where with --output-dir")
    for path in (parent / candidate for candidate in names):
        try:
            if path.exists():
                continue
            with whole_folder(path) as making:
                begin_folder(making, stamp)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and path.exists():
                continue  # another process has just created it
            raise RunFolderError(f"cannot make a run's folder in {parent}: {os_reason(error)}") from None
        return _open_new(path)
    taken = parent / names[0]
    raise RunFolderError(f"{taken} exists; name another folder, or resume with: --resume {shlex.quote(str(taken))}")


def begin_folder(folder: Path, stamp: dict[str, Any]) -> None:
    """Write a stamp and an empty journal into a folder, which makes it a run's."""
    _write_stamp(folder, stamp)
    (folder / JOURNAL).touch()


def _open_new(path: Path) -> RunFolder:
    """Open a newly created run; delete it if it cannot be opened."""
    try:
        return RunFolder(path, is_new=True)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def read_stamp(path: Path) -> dict[str, Any]:
    """Return the content of a run's `run.json`; raises RunFolderError if the folder is not a run's."""
    try:
        stamp = json.loads((path / RUN_FILE).read_bytes())
    except FileNotFoundError:
        raise RunFolderError(f"{path} is not a run's folder: it has no {RUN_FILE}") from None
    except OSError as error:
        raise RunFolderError(f"{path / RUN_FILE}: {os_reason(error)}") from None
    except (ValueError, RecursionError):
        raise RunFolderError(f"{path / RUN_FILE} is not JSON") from None
    if not isinstance(stamp, dict):
        raise RunFolderError(f"{path / RUN_FILE} is not a run's stamp")
    return stamp


def make_again(stamp: Mapping[str, Any], path: Path) -> str:
    """Return what makes the dataset's files of a run again, for error messages."""
    if stamp.get("kind") == IMPORT:
        return "import its files again, into a new folder"
    return f"make the files again: {resume_command('collect', path)}"


def resume_command(kind: object, path: Path) -> str:
    """Return the command that resumes a run."""
    return f"alfworld-sft {kind} --resume {shlex.quote(str(path))}"


def _write_stamp(folder: Path, stamp: dict[str, Any]) -> None:
    with whole_file(folder / RUN_FILE) as file:
        file.write(to_json(stamp, indent=2).encode() + b"\n")
