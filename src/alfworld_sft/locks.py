"""Which process works in a folder: one lock for collect, evaluate, train and `games fetch`.

The lock belongs to an open file and goes with the process, however that ends.
"""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

HAS_LOCKS = fcntl is not None
"""Whether this system has POSIX file locks."""
WITHOUT_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP})
"""What a file system that has no locks answers."""
HELD = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})


def lock(handle: int, path: Path) -> bool:
    """Lock an open file for this process alone, and return False where another process has done so.

    A file system without locks is named in a warning by `path`; then nothing is locked. Raises OSError for anything
    else.
    """
    try:
        return lock_strictly(handle)
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        logger.warning(
            "%s: this file system has no file locks (%s); do not start a second process in this folder",
            path, error.strerror,
        )  # fmt: skip
        return True


def lock_strictly(handle: int) -> bool:
    """Lock an open file as `lock` does, but raise OSError where its file system has no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            return False
        raise
    return True


class FileLock:
    """A lock file, which exists as long as it is held."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Take the lock, and return False where another process has it; raises OSError."""
        while True:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                if not lock(handle, self.path.parent):
                    os.close(handle)
                    return False
            except OSError:
                os.close(handle)
                raise
            if self._is_there(handle):
                self._handle = handle
                return True
            os.close(handle)  # its last holder has just deleted it

    def release(self) -> None:
        """Delete the lock file and give the lock back."""
        if self._handle is not None:
            self.path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = None

    def _is_there(self, handle: int) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), self.path.stat())
        except FileNotFoundError:
            return False
