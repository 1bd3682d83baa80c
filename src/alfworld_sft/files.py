"""Files and folders that appear complete, under their final name, or not at all.

They are written beside the target under a temporary name, synced to disk and renamed; then their parent is synced.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EBUSY
from pathlib import Path
from typing import IO
from uuid import uuid4

from alfworld_sft.locks import lock_strictly

PARTIAL, REPLACED = ".partial", ".replaced"
"""Endings of what is still being written, or deleted, and of a folder whose name a newer one is taking."""
_HIDDEN = re.compile(rf"\.(?P<name>.+)\.[0-9a-f]{{12}}(?:{re.escape(PARTIAL)}|{re.escape(REPLACED)})")
SYNCED_ONE_BY_ONE = 64
"""Files of a folder up to which each is synced; above, one sync of everything takes far less time."""


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file under a temporary name; it takes its own name, over an older file, when the block ends well.

    Raises what the block raises, after the temporary file is gone.
    """
    partial = _hidden_name(path)
    try:
        with partial.open("xb") as file:
            yield file
        rename_synced(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        _name_the_target(error, partial, path)
        raise


@contextmanager
def whole_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Fill a folder under a temporary name; it takes its own name, over an empty folder, when the block ends well.

    With `replace` also over a folder that holds something. Missing parents are made, and what killed processes left
    half-written of the same folder is deleted. Raises OSError where the folder cannot take its name, before the block
    where that is known, and what the block raises, after the temporary folder is gone.
    """
    path = path.resolve()  # a link's target takes the name
    if path.is_mount() or path == Path.cwd():
        raise OSError(EBUSY, "it is the current folder or a mount point", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    partial = _hidden_name(path)
    try:
        partial.mkdir()
        with _lock_folder(partial):
            yield partial
            rename_synced(partial, path, replace=replace)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        _name_the_target(error, partial, path)
        raise


def rename_synced(path: Path, to: Path, *, replace: bool = False) -> None:
    """Give a complete file or folder another name in the same file system, once all of it is on disk.

    With `replace` a folder also takes the name of one that holds something.
    """
    if path.is_dir():
        _sync_contents(path)
    _sync(path)
    old = _hidden_name(to, REPLACED) if replace and to.exists() else None
    if old:
        to.rename(old)
    try:
        path.replace(to)
    except BaseException:
        if old:
            old.rename(to)
        raise
    with suppress(OSError):  # some file systems cannot sync a folder
        _sync(to.parent)
    if old:  # only now: deleting takes long
        shutil.rmtree(old, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Delete a folder so that a kill in between leaves no half of it under its name."""
    old = _hidden_name(path)
    path.rename(old)
    shutil.rmtree(old, ignore_errors=True)


def remove_partial(folder: Path) -> None:
    """Delete what killed processes left half-written in a folder where no other process writes.

    A folder whose name was being taken by a newer one gets its name back if that has not come.
    """
    for leftover in folder.glob(f".*.*{PARTIAL}"):
        if _HIDDEN.fullmatch(leftover.name):
            _remove(leftover)
    _restore_replaced(folder)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hidden_name(path: Path, ending: str = PARTIAL) -> Path:
    """Return a name beside the target that nobody else uses."""
    return path.with_name(f".{path.name}.{uuid4().hex[:12]}{ending}")


def _restore_replaced(folder: Path, name: str | None = None) -> None:
    """Give replaced folders their names back where nothing has taken them, else delete them; of one `name` or all."""
    for replaced in folder.glob(f".*.*{REPLACED}"):
        found = _HIDDEN.fullmatch(replaced.name)
        if found is None or name not in (None, found["name"]):
            continue
        if (folder / found["name"]).exists():
            _remove(replaced)
        else:
            replaced.rename(folder / found["name"])


def _name_the_target(error: BaseException, partial: Path, path: Path) -> None:
    """Let an OSError about the temporary name, or what is in it, name what the user knows."""
    if isinstance(error, OSError) and isinstance(error.filename, str):
        error.filename = error.filename.replace(str(partial), str(path))


@contextmanager
def _lock_folder(folder: Path) -> Iterator[bool]:
    """Lock a folder for this process, and yield whether it is; some file systems cannot."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        held = False
        with suppress(OSError):
            held = lock_strictly(handle)
        yield held
    finally:
        os.close(handle)


def _remove_abandoned(path: Path) -> None:
    """Delete half-written folders of this name whose process is gone, and undo what it was replacing."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*{PARTIAL}"):
        with suppress(OSError), _lock_folder(leftover) as held:
            if held:
                _remove(leftover)
    with suppress(OSError):
        _restore_replaced(path.parent, path.name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync_contents(folder: Path) -> None:
    paths = list(folder.rglob("*"))
    if len(paths) > SYNCED_ONE_BY_ONE:
        os.sync()
        return
    for path in paths:
        _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
