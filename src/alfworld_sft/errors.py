"""The error tree: errors that a user can fix, and failures of one episode.

`UserError` and its children carry one line that names the thing, the value and the way out; the command line
prints that line and exits with 2. Everything else is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AlfworldSftError(Exception):
    """Base of every error that this package raises deliberately."""


class UserError(AlfworldSftError):
    """Something the user gave or can change: an option, a file, a folder, a server address."""


class ConfigError(UserError):
    """One or more options are wrong; the message lists all of them, one a line."""


class GameFileError(UserError):
    """A game file that is not a playable ALFWorld game; names the file and the reason, in one line."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file if file.isprintable() else ascii(file)}: {reason}")
        self.file = file
        self.reason = reason


class GamesNotFoundError(UserError):
    """A place that was named as a source of games holds none."""


class DownloadError(UserError):
    """An archive that cannot be fetched, or is not what it should be."""


class TemplateError(UserError):
    """A prompt template that cannot be read or lacks a section."""


class RunFolderError(UserError):
    """A run's folder that cannot be created, written, resumed or trusted."""


class DatasetError(UserError):
    """A dataset that cannot be made from the episodes at hand."""


class ComparisonError(UserError):
    """Two results that cannot be compared."""


class PolicyUnavailableError(UserError):
    """The policy is unavailable for the rest of the run: its server cannot start, cannot be reached, or refuses."""


class PolicyError(AlfworldSftError):
    """A policy that could not act; the episode is recorded as failed and the run continues."""


class UnwinnableError(PolicyError):
    """A planner has no plan: nothing wins any more. An episode that has begun ends here, lost, with what it holds."""


def os_reason(error: OSError) -> str:
    """Return the system's words for an error; libraries raise some that carry only a message, or nothing at all."""
    return error.strerror or str(error) or type(error).__name__


@contextmanager
def file_errors(doing: str, path: Path, way_out: str) -> Iterator[None]:
    """Turn an OSError of the block into a UserError: what could not be done, to which file, why, and the way out."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot {doing} {error.filename or path}: {os_reason(error)}; {way_out}") from error
