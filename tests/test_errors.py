"""What the system refuses becomes a line where a file is opened or written; whatever else goes wrong stays as it is."""

import errno
import logging

import pytest

from alfworld_sft import cli
from alfworld_sft.errors import UserError, file_errors, os_reason
from tests.test_cli import command


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("truncated"), "truncated"),
        (OSError(), "OSError"),
        (TimeoutError(), "TimeoutError"),
    ],
    ids=str,
)
def test_the_reason_is_never_none(error, reason):
    assert os_reason(error) == reason


def test_the_line_says_what_was_done_to_which_file_and_the_way_out(tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(UserError) as error, file_errors("read", tmp_path, "name another"):
        missing.read_bytes()
    assert str(error.value) == f"cannot read {missing}: No such file or directory; name another"
    assert isinstance(error.value.__cause__, FileNotFoundError)


def test_an_error_without_a_file_names_the_one_meant(tmp_path):
    line = rf"^cannot write {tmp_path}: No space left on device; make room$"
    with pytest.raises(UserError, match=line), file_errors("write", tmp_path, "make room"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_other_errors_pass(tmp_path):
    with pytest.raises(KeyError), file_errors("write", tmp_path, "make room"):
        raise KeyError("x")


def test_generated_games_that_cannot_be_written_are_one_line(tmp_path):
    (tmp_path / "file").touch()
    done = command("games", "generate", str(tmp_path / "file" / "games"), "--num", "3")
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line == (
        f"error: cannot write {tmp_path}/file: File exists; make room for it, or name a folder that can be written"
    )


def test_an_error_that_nobody_turned_into_a_line_keeps_its_traceback(monkeypatch):
    def broken():
        raise OSError

    monkeypatch.setattr(cli, "logger", logging.getLogger("elsewhere"))
    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(OSError, match=r"^$"):
        cli.main()
