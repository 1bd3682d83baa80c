import errno

import pytest

from alfworld_sft.errors import RunFolderError
from alfworld_sft.runs.results import results_errors
from alfworld_sft.runs.store import create_run


def test_a_full_disk_names_the_run_and_how_to_resume_it(tmp_path):
    with create_run(tmp_path, {"status": "running", "kind": "evaluate"}, name="run") as run:
        with pytest.raises(RunFolderError) as caught, results_errors(run):
            raise OSError(errno.ENOSPC, "No space left on device")
        assert str(caught.value) == (
            f"{run.path}: No space left on device; all episodes are safe; fix that, then:"
            f" alfworld-sft evaluate --resume {run.path}"
        )


def test_a_bug_keeps_its_traceback(tmp_path):
    with (
        create_run(tmp_path, {"status": "running", "kind": "collect"}, name="run") as run,
        pytest.raises(ZeroDivisionError),
        results_errors(run),
    ):
        raise ZeroDivisionError
