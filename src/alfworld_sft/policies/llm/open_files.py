"""May this process open enough files for its connections to a server?"""

from __future__ import annotations

import errno

from alfworld_sft.errors import PolicyUnavailableError

OTHER_FILES = 128
"""Open files of this process besides its connections: journal, libraries, pipes of workers."""


def allow_connections(count: int, option: str = "runner.concurrency") -> None:
    """Raise this process's soft limit of open files so that this many simultaneous connections fit.

    Raises PolicyUnavailableError if the hard limit is too low; `option` is what the count is set by.
    """
    try:
        import resource  # noqa: PLC0415 - not on Windows, which has no such limit
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise PolicyUnavailableError(
            f"{option}={count} takes about {wanted} open files, and this process may have {hard} at most;"
            f" set {option}={max(1, hard - OTHER_FILES)}, or raise the limit (ulimit -Hn)"
        )
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:  # macOS has another limit below the hard one
        raise PolicyUnavailableError(
            f"{option}={count} takes about {wanted} open files, and the limit of {soft} cannot be raised"
            f" ({error}); set {option}={max(1, soft - OTHER_FILES)}"
        ) from None


def is_out_of_files(error: BaseException | None) -> bool:
    """Return whether an error, or one of its causes, is that no more files can be opened."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return True
        if "[Errno 24]" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
