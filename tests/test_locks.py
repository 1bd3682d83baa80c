"""One process in a folder; a file system without locks is no other process."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from alfworld_sft.locks import FileLock

HOLD = """
import sys
from pathlib import Path
from alfworld_sft.locks import FileLock
print(FileLock(Path(sys.argv[1])).acquire(), flush=True)
sys.stdin.read()
"""


def test_a_lock_is_held_by_one_and_its_file_is_gone_afterwards(tmp_path):
    one, other = FileLock(tmp_path / ".lock"), FileLock(tmp_path / ".lock")
    assert one.acquire()
    assert not other.acquire()
    one.release()
    assert not list(tmp_path.iterdir())
    assert other.acquire()


def test_a_killed_process_holds_nothing(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "True\n"
        assert not FileLock(tmp_path / ".lock").acquire()
        holder.kill()
        holder.wait()
        assert (tmp_path / ".lock").exists()
        assert FileLock(tmp_path / ".lock").acquire()


def test_a_lock_file_that_its_holder_deletes_meanwhile_is_made_again(tmp_path, monkeypatch):
    first, second = FileLock(tmp_path / ".lock"), FileLock(tmp_path / ".lock")
    first.acquire()
    plain = fcntl.flock

    def released_just_before(handle, operation):
        first.release()
        plain(handle, operation)

    monkeypatch.setattr(fcntl, "flock", released_just_before)
    assert second.acquire()
    assert (tmp_path / ".lock").exists()
    assert not FileLock(tmp_path / ".lock").acquire()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_there_is_a_warning(tmp_path, monkeypatch, caplog, number):
    def flock(handle, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    assert FileLock(tmp_path / ".lock").acquire()
    assert f"{tmp_path}: this file system has no file locks ({os.strerror(number)})" in caplog.text


def test_any_other_failure_is_not_another_process(tmp_path, monkeypatch):
    def flock(handle, operation):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output error"):
        FileLock(tmp_path / ".lock").acquire()
