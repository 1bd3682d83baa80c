"""How do a run's results reach its folder once all episodes are played, and what does a full disk mean for them?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alfworld_sft.errors import RunFolderError, os_reason
from alfworld_sft.runs.store import RunFolder, resume_command


@contextmanager
def results_errors(run: RunFolder) -> Iterator[None]:
    """Turn an OSError raised while writing results into a RunFolderError with instructions for resuming.

    No episode is lost: the journal is complete, and resuming writes the results again.
    """
    try:
        yield
    except OSError as error:
        raise RunFolderError(
            f"{run.path}: {os_reason(error)}; all episodes are safe; fix that, then:"
            f" {resume_command(run.kind, run.path)}"
        ) from None
