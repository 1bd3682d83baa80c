import errno
import fcntl
import json
import os
from contextlib import contextmanager
from datetime import datetime
from types import SimpleNamespace

import pytest

from alfworld_sft.errors import RunFolderError
from alfworld_sft.files import PARTIAL, whole_folder
from alfworld_sft.runs.records import to_line
from alfworld_sft.runs.store import JOURNAL, RunFolder, create_run, read_stamp
from tests.episodes import episode


@pytest.fixture
def run(tmp_path):
    with create_run(tmp_path, {"status": "running"}, name="run") as run:
        yield run


def test_a_new_run_has_a_stamp_and_an_empty_journal(run):
    assert json.loads((run.path / "run.json").read_text()) == {"status": "running"}
    assert (run.path / JOURNAL).read_bytes() == b""
    assert list(run.owed(3)) == [0, 1, 2]


def test_the_default_name_tells_the_time(tmp_path):
    with create_run(tmp_path, {}) as first, create_run(tmp_path, {}) as second:
        assert first.path.name.startswith("sft_data_20")
        assert len(first.path.name) == len("sft_data_20241211_143022")
        assert first.path != second.path, "two runs of one second do not meet in one folder"


def test_an_existing_folder_is_never_taken_over(run):
    with pytest.raises(RunFolderError, match=r"run exists; name another folder, or resume with: --resume"):
        create_run(run.path.parent, {}, name="run")
    with pytest.raises(RunFolderError, match=r"cannot make a run's folder in .*: File name too long"):
        create_run(run.path.parent, {}, name="n" * 300)


@pytest.mark.parametrize("name", ["../run", "a/b", "/run", "."])
def test_a_name_is_not_a_path(tmp_path, name):
    with pytest.raises(RunFolderError, match="a folder's name, without a path"):
        create_run(tmp_path, {}, name=name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_place_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunFolderError, match="cannot make a run's folder"):
        create_run(tmp_path, {}, name="run")


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match=r"cannot make a run's folder in .*file: (Not a directory|File exists)"):
        create_run(tmp_path / "file", {}, name="run")


def test_nothing_is_left_of_a_run_that_could_not_be_made(run):
    with pytest.raises(RunFolderError):
        create_run(run.path.parent, {}, name="run")
    assert [entry.name for entry in run.path.parent.iterdir()] == ["run"]


def test_episodes_come_back_by_index_whatever_the_order_they_ended_in(run):
    for index in (2, 0, 1):
        run.append(episode(index))
    assert [e.index for e in run.episodes()] == [0, 1, 2]
    assert list(run.owed(5)) == [3, 4]


def test_a_run_opened_again_owes_what_is_missing(run):
    run.append(episode(1))
    run.close()
    with RunFolder(run.path) as again:
        assert list(again.owed(3)) == [0, 2]
        assert list(again.episodes()) == [episode(1)]


@pytest.mark.parametrize("cut", [1, 10, 200])
def test_a_torn_last_line_is_owed_again(run, cut):
    run.append(episode(0))
    run.append(episode(1))
    run.close()
    journal = run.path / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-cut])
    with RunFolder(run.path) as again:
        assert list(again.owed(2)) == [1]
        again.append(episode(1))
    assert journal.read_bytes() == to_line(episode(0)) + to_line(episode(1))


def test_a_failed_episode_is_owed_and_its_next_try_counts(run):
    run.append(episode(0, error="server timed out"))
    run.append_failure(1, "some-game", "no such file")
    assert list(run.owed(2)) == [0, 1]
    assert run.failed == {0: "server timed out", 1: "no such file"}
    run.append(episode(0))
    assert list(run.owed(2)) == [1]
    assert [e.error for e in run.episodes()] == [None]


def test_a_line_that_is_no_episode_is_refused(run):
    run.close()
    (run.path / JOURNAL).write_bytes(to_line(episode(0)) + b'{"index": "x"\n')
    with pytest.raises(RunFolderError, match=r"the line at byte \d+ is no episode"):
        RunFolder(run.path)


def test_two_processes_cannot_work_on_one_run(run):
    with pytest.raises(RunFolderError, match="another process is working on this run"):
        RunFolder(run.path)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_and_the_run_goes_on(tmp_path, monkeypatch, caplog, number):
    monkeypatch.setattr(fcntl, "flock", refuse(number))
    with create_run(tmp_path, {}, name="run") as run:
        run.append(episode(0))
    assert caplog.messages == [
        f"{tmp_path}/run: this file system has no file locks ({os.strerror(number)});"
        " do not start a second process in this folder"
    ]


def test_a_lock_that_fails_says_why_and_leaves_no_empty_run(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", refuse(errno.EIO))
    with pytest.raises(RunFolderError, match="Input/output error"):
        create_run(tmp_path, {}, name="run")
    assert not list(tmp_path.iterdir())


def refuse(number):
    def flock(handle, operation):
        raise OSError(number, os.strerror(number))

    return flock


@pytest.mark.parametrize(
    ("content", "message"), [(None, "it has no run.json"), (b"{", "is not JSON"), (b"[]", "is not a run's stamp")]
)
def test_a_folder_that_is_no_run_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(RunFolderError, match=message):
        RunFolder(tmp_path)


def test_runs_that_start_at_the_same_time_get_folders_of_their_own(tmp_path, monkeypatch):
    others = []

    @contextmanager
    def slow(path):
        with whole_folder(path) as folder:
            yield folder
            if not others:
                others.append(path)
                with create_run(tmp_path, {"number": 1}) as other:
                    assert other.path == path

    monkeypatch.setattr("alfworld_sft.runs.store.whole_folder", slow)
    monkeypatch.setattr("alfworld_sft.runs.store.datetime", SimpleNamespace(now=lambda: datetime(2026, 1, 1)))
    with create_run(tmp_path, {"number": 2}) as run:
        assert run.path != others[0]
        assert [read_stamp(path)["number"] for path in (others[0], run.path)] == [1, 2]
    assert len(list(tmp_path.iterdir())) == 2


def test_half_written_files_of_a_killed_process_are_removed(run):
    run.close()
    (run.path / f".train.csv.0123456789ab{PARTIAL}").write_bytes(b"half")
    RunFolder(run.path).close()
    assert sorted(entry.name for entry in run.path.iterdir()) == [JOURNAL, "run.json"]


def test_a_full_disk_is_one_clear_line(run, monkeypatch):
    class Full:
        def seek(self, *_):
            return 0

        def write(self, _):
            raise OSError(28, "No space left on device")

        closed = True

    run.close()
    monkeypatch.setattr(run, "_file", Full())
    with pytest.raises(
        RunFolderError, match=r"No space left on device; make room, then: alfworld-sft collect --resume"
    ):
        run.append(episode(0))


def test_after_a_torn_line_nothing_is_written_behind_it(run, monkeypatch):
    """Other episodes end while the run stops, and the disk may have room for them again."""
    write = run._file.write

    def tear(line):
        monkeypatch.undo()
        write(line[:100])
        raise OSError(28, "No space left on device")

    class Torn:
        def __getattr__(self, name):
            return tear if name == "write" else getattr(file, name)

    run.append(episode(0))
    file = run._file
    monkeypatch.setattr(run, "_file", Torn())
    for index in (1, 2):
        with pytest.raises(RunFolderError, match="No space left on device; make room, then"):
            run.append(episode(index))
    run.close()
    again = RunFolder(run.path)
    assert (again.played, list(again.owed(3))) == (1, [1, 2])


def test_a_journal_that_is_a_link_is_not_written(run, tmp_path):
    run.close()
    other = tmp_path / "other"
    other.write_text("a file without a line feed, which would be cut off as a torn line")
    (run.path / "episodes.jsonl").unlink()
    (run.path / "episodes.jsonl").symlink_to(other)
    with pytest.raises(RunFolderError, match=r"episodes\.jsonl is a link or no plain file"):
        RunFolder(run.path)
    assert other.read_text().startswith("a file")


def test_a_stamp_nested_too_deeply_is_one_line(run):
    run.close()
    (run.path / "run.json").write_text("[" * 200_000)
    with pytest.raises(RunFolderError, match=r"run\.json is not JSON"):
        RunFolder(run.path)
