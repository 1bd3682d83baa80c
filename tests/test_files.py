import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from alfworld_sft import files
from alfworld_sft.files import PARTIAL, remove_folder, remove_partial, rename_synced, whole_file, whole_folder

HEX = "0123456789ab"


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def write_file(path: Path, text: str) -> None:
    with whole_file(path) as file:
        file.write(text.encode())


def write_folder(path: Path, text: str, *, replace: bool = False) -> None:
    with whole_folder(path, replace=replace) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text(text)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Return the syncs and renames that are made, in their order, with the names of what they are made of."""
    made: list[tuple[str, str]] = []

    def noted(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(path: Path, *rest: object) -> object:
            made.append((name, path.name))
            return real(path, *rest)

        return call

    monkeypatch.setattr(files, "_sync", noted("sync", files._sync))
    monkeypatch.setattr(Path, "replace", noted("rename", Path.replace))
    return made


def test_a_file_is_there_when_it_is_complete(tmp_path: Path):
    with whole_file(tmp_path / "file") as file:
        file.write(b"new")
        assert not (tmp_path / "file").exists()
    assert (tmp_path / "file").read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


def test_a_file_is_synced_renamed_and_its_parent_synced(tmp_path: Path, calls: list[tuple[str, str]]):
    write_file(tmp_path / "file", "new")
    (sync, partial), (rename, renamed), parent = calls
    assert (sync, rename, parent) == ("sync", "rename", ("sync", tmp_path.name))
    assert partial == renamed
    assert partial.startswith(".file.")
    assert partial.endswith(PARTIAL)


def test_a_folder_is_synced_with_all_in_it_renamed_and_its_parent_synced(tmp_path: Path, calls: list[tuple[str, str]]):
    write_folder(tmp_path / "folder", "new")
    *inside, (sync, partial), (rename, renamed), parent = calls
    assert sorted(inside) == [("sync", "file"), ("sync", "inner")]
    assert (sync, rename, parent) == ("sync", "rename", ("sync", tmp_path.name))
    assert partial == renamed


def test_a_folder_of_many_files_is_synced_at_once(
    tmp_path: Path, calls: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "sync", lambda: calls.append(("sync", "everything")))
    with whole_folder(tmp_path / "folder") as folder:
        for number in range(files.SYNCED_ONE_BY_ONE + 1):
            (folder / str(number)).touch()
    assert calls[0] == ("sync", "everything")
    assert [name for name, _ in calls] == ["sync", "sync", "rename", "sync"]


def test_a_folder_that_cannot_be_synced_keeps_its_renamed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def sync(path: Path) -> None:
        if path == tmp_path:
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(files, "_sync", sync)
    write_file(tmp_path / "file", "new")
    assert names(tmp_path) == ["file"]


def test_a_half_written_file_that_is_a_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    other = tmp_path / "other"
    other.write_text("mine")
    (tmp_path / "link").symlink_to(other)
    monkeypatch.setattr(files, "_hidden_name", lambda path: path.with_name("link"))
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "file", "new")
    assert other.read_text() == "mine"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_error_all_is_as_it_was(tmp_path: Path, error: type[BaseException]):
    write_file(tmp_path / "file", "old")
    write_folder(tmp_path / "folder", "old")
    with pytest.raises(error), whole_file(tmp_path / "file"):
        raise error
    with pytest.raises(error), whole_folder(tmp_path / "folder", replace=True):
        raise error
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "old"
    assert (tmp_path / "folder" / "inner" / "file").read_text() == "old"


def test_an_error_names_the_target_and_not_the_temporary_file(tmp_path: Path):
    file, folder = tmp_path / "missing" / "file", tmp_path / "folder"
    with pytest.raises(FileNotFoundError) as found:
        write_file(file, "new")
    assert found.value.filename == str(file)
    with pytest.raises(FileNotFoundError) as found, whole_folder(folder) as partial:
        (partial / "absent" / "inner").touch()
    assert found.value.filename == str(folder / "absent" / "inner")


def test_two_writers_of_one_name_do_not_disturb_each_other(tmp_path: Path):
    with whole_file(tmp_path / "file") as first, whole_file(tmp_path / "file") as second:
        first.write(b"first")
        second.write(b"second")
    assert (tmp_path / "file").read_bytes() == b"first", "the last to end counts"
    with whole_folder(tmp_path / "folder", replace=True) as one:
        (one / "file").write_text("one")
        write_folder(tmp_path / "folder", "two")
        assert (tmp_path / "folder" / "inner" / "file").read_text() == "two"
    assert names(tmp_path / "folder") == ["file"]
    assert names(tmp_path) == ["file", "folder"]


def test_a_folder_takes_the_place_of_an_empty_one_alone(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    write_folder(tmp_path / "folder", "old")
    with pytest.raises(OSError, match=r"not empty|exists"):
        write_folder(tmp_path / "folder", "new")
    assert (tmp_path / "folder" / "inner" / "file").read_text() == "old"
    write_folder(tmp_path / "folder", "new", replace=True)
    assert (tmp_path / "folder" / "inner" / "file").read_text() == "new"
    assert names(tmp_path) == ["folder"]


def test_parents_are_made(tmp_path: Path):
    write_folder(tmp_path / "a" / "b", "new")
    assert names(tmp_path / "a") == ["b"]


def test_what_a_killed_process_left_of_a_folder_is_deleted(tmp_path: Path):
    for name in (".folder.1a.partial", ".folder_2.1a.partial", "folder.partial"):
        (tmp_path / name / "inner").mkdir(parents=True)
    write_folder(tmp_path / "folder", "new")
    assert names(tmp_path) == [".folder_2.1a.partial", "folder", "folder.partial"], "of others nothing is"


def test_without_locks_nothing_counts_as_left_by_a_killed_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(handle: int) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files, "lock_strictly", refuse)
    (tmp_path / ".folder.1a.partial").mkdir()
    write_folder(tmp_path / "folder", "new")
    assert names(tmp_path) == [".folder.1a.partial", "folder"]


def test_an_old_folder_is_there_until_the_new_one_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Deleting a checkpoint takes long: a kill meanwhile must not leave neither."""
    write_folder(tmp_path / "folder", "old")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("alfworld_sft.files.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "folder", "new", replace=True)
    assert (tmp_path / "folder" / "inner" / "file").read_text() == "new"


def test_an_old_folder_keeps_its_name_where_the_new_one_cannot_take_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_folder(tmp_path / "folder", "old")

    def refused(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(OSError, match="Input/output error"):
        write_folder(tmp_path / "folder", "new", replace=True)
    assert (tmp_path / "folder" / "inner" / "file").read_text() == "old"
    assert names(tmp_path) == ["folder"]


def test_the_current_folder_is_refused_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="it is the current folder or a mount point"):
        write_folder(Path(), "new")
    assert names(tmp_path) == []


def test_a_link_to_an_empty_folder_stays_and_its_target_is_filled(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    write_folder(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "empty") == ["inner"]


def test_all_that_killed_processes_left_in_a_folder_can_be_deleted(tmp_path: Path):
    kept = tmp_path / "kept"
    write_folder(kept, "mine")
    (tmp_path / f".folder.{HEX}.partial" / "inner").mkdir(parents=True)
    (tmp_path / f".file.{HEX}.partial").touch()
    (tmp_path / f".link.{HEX}.partial").symlink_to(kept)
    (tmp_path / f".kept.{HEX}.replaced" / "older").mkdir(parents=True)
    remove_partial(tmp_path)
    assert names(tmp_path) == ["kept"]
    assert names(kept) == ["inner"]


def test_what_others_have_named_alike_is_not_deleted(tmp_path: Path):
    for name in ("download.partial", ".video.partial", ".video.mp4.partial"):
        (tmp_path / name).touch()
    remove_partial(tmp_path)
    assert len(names(tmp_path)) == 3


def by_writing_it_again(folder: Path) -> None:
    with pytest.raises(RuntimeError), whole_folder(folder, replace=True):
        raise RuntimeError


@pytest.mark.parametrize("recover", [by_writing_it_again, lambda folder: remove_partial(folder.parent)])
def test_a_kill_before_the_new_folder_has_the_name_leaves_the_old_one(tmp_path: Path, recover: Callable[[Path], None]):
    write_folder(tmp_path / f".folder.{HEX}.replaced", "old")
    write_folder(tmp_path / f".folder.{HEX}.partial", "new")
    recover(tmp_path / "folder")
    assert names(tmp_path) == ["folder"]
    assert (tmp_path / "folder" / "inner" / "file").read_text() == "old"


def test_a_folder_never_takes_the_name_of_another_that_was_replaced(tmp_path: Path):
    write_folder(tmp_path / f".folder.bak.{HEX}.replaced", "another's")
    by_writing_it_again(tmp_path / "folder")
    assert names(tmp_path) == [f".folder.bak.{HEX}.replaced"]


def test_a_folder_is_removed_and_a_file_renamed(tmp_path: Path):
    write_folder(tmp_path / "folder", "old")
    (tmp_path / "file").touch()
    remove_folder(tmp_path / "folder")
    rename_synced(tmp_path / "file", tmp_path / "renamed")
    assert names(tmp_path) == ["renamed"]
