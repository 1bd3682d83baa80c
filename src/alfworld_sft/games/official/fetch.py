"""`games fetch`: the official archives, unpacked into a data folder so that files appear complete or not at all.

Everything is made in `DIR/.alfworld-sft-fetch/` and renamed into place at the end; after a kill at any moment, the next
call resumes with the partial download, the downloaded archive, or the files that were being moved. `DIR/fetched.json`
records each archive's address and sha256. No official checksums are published, so the first fetch trusts what it gets
(unless the caller names a hash); a later one must get the same bytes.
"""

from __future__ import annotations

import errno
import filecmp
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alfworld_sft.counts import counted, noun_for
from alfworld_sft.errors import DownloadError, UserError, os_reason
from alfworld_sft.files import rename_synced, sha256_of
from alfworld_sft.games.layout import DATA_FOLDER, READY_FOLDER, WORK_FOLDER
from alfworld_sft.games.official.archives import Archive
from alfworld_sft.games.official.http_file import Retry, download
from alfworld_sft.games.official.unpack import is_unpacked, unpack
from alfworld_sft.locks import lock

RECORD_FILE = "fetched.json"
Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, how many bytes are done, and how many there are (None: unknown)."""


ANY_NAME = ""
"""Stands for all file names in the record of an older version."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One archive as `fetched.json` records it: where it came from, its hash, and how many files of each name were
    kept."""

    name: str
    source: str
    sha256: str
    size_bytes: int
    by_name: Mapping[str, int]

    @property
    def files(self) -> int:
        """How many files were kept."""
        return sum(self.by_name.values())


def fetch(
    archives: Sequence[Archive],
    to: Path,
    *,
    force: bool = False,
    retry: Retry | None = None,
    on_progress: Progress = lambda what, done, total: None,
) -> list[Fetched]:
    """Fetch the archives into the data folder `to` and return what `fetched.json` now says of them.

    Archives that are recorded and whose files are there are not fetched again. `force` fetches them again and lets
    files that differ from the archive's be replaced. Raises DownloadError for an archive that cannot be had or
    trusted, UserError for a folder that cannot be used.
    """
    to = to.expanduser().absolute()
    to = to.parent if to.name == DATA_FOLDER else to
    with _plain_disk_errors(to):
        to.mkdir(parents=True, exist_ok=True)
        with _exclusive_use(to):
            work = to / WORK_FOLDER
            _finish_move(work / READY_FOLDER, to)
            record = read_record(to)
            owed = [archive for archive in archives if force or not _is_there(archive, record, to)]
            if owed:
                record |= _fetch_owed(owed, record, to, force=force, retry=retry, on_progress=on_progress)
                _write_record(to, record)
            shutil.rmtree(work, ignore_errors=True)
            return [record[archive.name] for archive in archives]


def _fetch_owed(
    owed: Sequence[Archive],
    record: dict[str, Fetched],
    to: Path,
    *,
    force: bool,
    retry: Retry | None,
    on_progress: Progress,
) -> dict[str, Fetched]:
    work = to / WORK_FOLDER
    unpacked = work / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir(parents=True)
    fetched: dict[str, Fetched] = {}
    for archive in owed:
        file = archive.local or work / f"{hashlib.sha256(archive.url.encode()).hexdigest()[:12]}-{archive.name}"
        if archive.local is None:
            download(archive.url, file, retry=retry, on_progress=_label(on_progress, archive.name))
        try:
            fetched[archive.name] = _unpack_checked(archive, file, record.get(archive.name), unpacked, on_progress)
        except DownloadError:
            if archive.local is None:
                file.unlink(missing_ok=True)  # or the next call would find the same bad file
            raise
    if not force:
        _refuse_conflicts(unpacked, to)
    ready = work / READY_FOLDER
    rename_synced(unpacked, ready)
    _finish_move(ready, to)
    return fetched


def _unpack_checked(
    archive: Archive, file: Path, recorded: Fetched | None, unpacked: Path, on_progress: Progress
) -> Fetched:
    sha256 = sha256_of(file)
    expected = archive.sha256 or (recorded.sha256 if recorded else None)
    if expected and sha256 != expected:
        source = "--sha256 says" if archive.sha256 else f"{RECORD_FILE} recorded"
        raise DownloadError(
            f"{archive.url}: its sha256 is {sha256}, but {source} {expected}; if the archive was changed deliberately,"
            f" give --sha256 {sha256} or delete {RECORD_FILE}"
        )
    on_unpacked = _label(on_progress, f"unpacking {archive.name}")
    files = unpack(file, unpacked, archive.keep, on_progress=on_unpacked)
    return Fetched(archive.name, archive.url, sha256, file.stat().st_size, files)


def _label(on_progress: Progress, what: str) -> Callable[[int, int | None], None]:
    return lambda done, total: on_progress(what, done, total)


def _refuse_conflicts(unpacked: Path, to: Path) -> None:
    """Raise UserError if a file that is there already would be changed: sets of games are not mixed by accident."""
    differing = [
        new.relative_to(unpacked)
        for new in sorted(unpacked.rglob("*"))
        if new.is_file() and (old := to / new.relative_to(unpacked)).exists() and not filecmp.cmp(new, old, False)
    ]
    if differing:
        differ = f"{counted(len(differing), 'file')} there {noun_for(len(differing), 'differs', 'differ')}"
        raise UserError(
            f"{to}: {differ} from the archive's, the first is {differing[0].as_posix()};"
            " fetch to another folder (--to DIR), or replace them (--force)"
        )


def _finish_move(ready: Path, to: Path) -> None:
    """Move what is in `ready` to its final place: new folders at once, existing ones file by file."""
    if not ready.exists():
        return
    for entry in sorted(ready.iterdir()):
        target = to / entry.name
        if entry.is_dir() and target.is_dir():
            _finish_move(entry, target)
        else:
            entry.replace(target)
    ready.rmdir()


def _is_there(archive: Archive, record: dict[str, Fetched], to: Path) -> bool:
    """Return whether the record names the archive, with the hash asked for, and all its files are still there.

    Which files a downloaded archive had is not known without it: there, as many of each name must be there.
    """
    recorded = record.get(archive.name)
    wanted = archive.sha256 or (sha256_of(archive.local) if archive.local and archive.local.is_file() else None)
    if recorded is None or (wanted and wanted != recorded.sha256):
        return False
    if archive.local:  # the same bytes as were unpacked then
        return is_unpacked(archive.local, to, archive.keep)
    there: Counter[str] = Counter()
    for place, _, files in os.walk(to / DATA_FOLDER):
        there.update(name for name in files if name in archive.keep and Path(place, name).stat().st_size)
    if ANY_NAME in recorded.by_name:
        return there.total() >= recorded.files
    return all(there[name] >= number for name, number in recorded.by_name.items())


def read_record(to: Path) -> dict[str, Fetched]:
    """Read `fetched.json`; empty where there is none. Raises UserError for a damaged one."""
    file = to / RECORD_FILE
    try:
        rows: dict[str, Any] = json.loads(file.read_bytes())["archives"]
        return {
            name: Fetched(name, str(row["source"]), str(row["sha256"]), int(row["size_bytes"]), _by_name(row["files"]))
            for name, row in rows.items()
        }
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{file}: not a record of fetched archives; delete it to fetch again") from None


def _by_name(recorded: Any) -> dict[str, int]:
    """Read how many files of each name were kept; older records have one number for all names."""
    if isinstance(recorded, int):
        return {ANY_NAME: recorded}
    return {str(name): int(number) for name, number in recorded.items()}


def _write_record(to: Path, record: dict[str, Fetched]) -> None:
    rows = {
        name: {"source": r.source, "sha256": r.sha256, "size_bytes": r.size_bytes, "files": dict(r.by_name)}
        for name, r in sorted(record.items())
    }
    new = to / WORK_FOLDER / RECORD_FILE
    new.write_text(json.dumps({"archives": rows}, indent=2) + "\n", encoding="utf-8")
    rename_synced(new, to / RECORD_FILE)


@contextmanager
def _exclusive_use(folder: Path) -> Iterator[None]:
    """Keep a second fetch out of the folder; the lock goes with the process, however that ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        if not lock(handle, folder):
            raise UserError(f"{folder}: another 'games fetch' is running there; wait until it finishes")
        yield
    finally:
        os.close(handle)


@contextmanager
def _plain_disk_errors(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into one line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(
                f"{folder}: no space left ({os_reason(error)}); free some and run the same command again, it resumes"
                " where it stopped, or name another folder with --to"
            ) from None
        raise UserError(
            f"{error.filename or folder}: {os_reason(error)}; name a folder that can be written with --to"
        ) from None
