"""Which folder does a training run write? One held by a single process, and deleted if nothing was trained."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from alfworld_sft.errors import RunFolderError, UserError, os_reason
from alfworld_sft.locks import FileLock
from alfworld_sft.train.distributed import Ranks
from alfworld_sft.train.log import LOGS, METRICS_FILE

LOCK = ".lock"
START = "start"
"""The model that a run of `rl` starts from, where it had to be merged."""
OPTION = "trainer.default_local_dir"


@contextmanager
def output_folder(path: Path, ranks: Ranks) -> Iterator[None]:
    """Hold a run's folder for the duration of the context; every process must enter it.

    The folder is created if necessary. If the context ends with an error before a step was done, everything it created
    is deleted. Raises RunFolderError if another process trains there, or if the folder cannot be created.
    """
    folder: _Folder | None = None
    problem: UserError | None = None
    if ranks.first:
        try:
            folder = _Folder(path)
        except UserError as error:
            problem = error
    problem = ranks.share(problem)
    if problem:
        raise problem
    if folder is None:
        yield
        return
    try:
        yield
    except BaseException:
        folder.clear_if_unused()
        raise
    finally:
        folder.close()


class _Folder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._new_folders: list[Path] = []
        self._lock = FileLock(path / LOCK)
        try:
            self._new_folders = _make_folders(path)
            self._was_empty = all(entry.name == LOCK for entry in path.iterdir())
            held = not self._lock.acquire()
        except OSError as error:
            self._remove_new_folders()
            raise RunFolderError(f"{OPTION}={path}: {os_reason(error)}") from None
        if held:
            raise RunFolderError(
                f"{path}: another process is training in this folder; wait for it or stop it, or name another {OPTION}"
            )

    def clear_if_unused(self) -> None:
        """Delete this run's files in a previously empty folder, unless a step was done."""
        metrics = self.path / METRICS_FILE
        if not self._was_empty or (metrics.exists() and metrics.stat().st_size):
            return
        for name in (*LOGS, START):
            entry = self.path / name
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
        self._lock.release()
        self._remove_new_folders()

    def close(self) -> None:
        self._lock.release()

    def _remove_new_folders(self) -> None:
        with suppress(OSError):  # something else is in there
            for folder in self._new_folders:
                folder.rmdir()


def _make_folders(path: Path) -> list[Path]:
    """Create a folder with its parents; return the newly created ones, innermost first."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    return missing
