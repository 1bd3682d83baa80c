import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from alfworld_sft.errors import UserError
from alfworld_sft.games import index
from alfworld_sft.games.index import index_folder
from tests.games.conftest import BOOK, EGG, TRIAL, write_game
from tests.handmade import Furniture, game_file


def test_a_pipe_is_not_read(data: Path) -> None:
    write_game(data / "x.tw-pddl")
    os.mkfifo(data / "pipe.tw-pddl")
    problems = {entry.path: entry.problem for entry in index_folder(data).entries}
    assert problems["pipe.tw-pddl"] == "unreadable (not a regular file)"
    with pytest.raises(OSError, match="not a regular file"):
        index.index_file(data / "pipe.tw-pddl")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the game files that were read, as they are read."""
    read: list[str] = []
    original = index._read_game_file

    def recording(folder: Path, path: str, *args: object, **kwargs: object) -> index.IndexEntry:
        read.append(path)
        return original(folder, path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(index, "_read_game_file", recording)
    return read


@pytest.fixture
def two_games(data: Path, reads: list[str]) -> Path:
    """A folder of two games that has been indexed once."""
    write_game(data / "a.tw-pddl")
    write_game(data / "b.tw-pddl")
    index_folder(data)
    reads.clear()
    return data


def test_an_entry_holds_hash_type_and_scene(data: Path) -> None:
    file = write_game(data / EGG / TRIAL / "game.tw-pddl")
    file.write_bytes(b'{"solvable": true}')
    (entry,) = index_folder(data).entries
    assert (entry.path, entry.sha256, entry.task_type, entry.scene, entry.problem) == (
        f"{EGG}/{TRIAL}/game.tw-pddl",
        "10a383ee5ba04343e92f5d8d69b77a9366b1061d13578b34a0895584fb6d2c79",
        "pick_heat_then_place_in_recep",
        23,
        None,
    )


def test_entries_are_sorted_by_path_whatever_the_file_system_says(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b", "a", "c"):
        write_game(data / name / "game.tw-pddl")
    original = index._files
    monkeypatch.setattr(index, "_files", lambda *args: reversed(list(original(*args))))
    assert [entry.path for entry in index_folder(data).entries] == [
        "a/game.tw-pddl",
        "b/game.tw-pddl",
        "c/game.tw-pddl",
    ]


def test_the_second_time_nothing_is_read(two_games: Path, reads: list[str]) -> None:
    index_folder(two_games)
    assert reads == []


def test_the_second_time_says_the_same(two_games: Path) -> None:
    assert index_folder(two_games) == index_folder(two_games)


def test_an_added_file_is_noticed(two_games: Path, reads: list[str]) -> None:
    write_game(two_games / "c.tw-pddl")
    assert [entry.path for entry in index_folder(two_games).entries] == ["a.tw-pddl", "b.tw-pddl", "c.tw-pddl"]
    assert reads == ["c.tw-pddl"]


def test_a_removed_file_is_noticed(two_games: Path) -> None:
    (two_games / "a.tw-pddl").unlink()
    assert [entry.path for entry in index_folder(two_games).entries] == ["b.tw-pddl"]


def test_an_edited_file_is_noticed(two_games: Path, reads: list[str]) -> None:
    write_game(two_games / "a.tw-pddl", solvable=False)
    assert [entry.problem for entry in index_folder(two_games).entries] == [index.UNSOLVABLE, None]
    assert reads == ["a.tw-pddl"]


def test_a_replacement_with_the_same_size_and_mtime_is_noticed(two_games: Path, reads: list[str]) -> None:
    old = (two_games / "a.tw-pddl").stat()
    new = two_games / "new"
    new.write_bytes((two_games / "a.tw-pddl").read_bytes().replace(b"(define)", b"(other!)"))
    os.utime(new, ns=(old.st_atime_ns, old.st_mtime_ns))
    new.replace(two_games / "a.tw-pddl")
    assert (two_games / "a.tw-pddl").stat().st_size == old.st_size
    index_folder(two_games)
    assert reads == ["a.tw-pddl"]


def test_a_renamed_folder_is_noticed(two_games: Path, reads: list[str]) -> None:
    moved = two_games.rename(two_games.with_name("moved"))
    index_folder(moved)
    assert reads == ["a.tw-pddl", "b.tw-pddl"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda memory: memory.write_bytes(b"{"),
        lambda memory: memory.write_bytes(b"\xff\x00"),
        lambda memory: memory.write_bytes(b"[]"),
        lambda memory: memory.write_bytes(
            b'{"format": 2, "files": [["a.tw-pddl", [1, 2, 3], 7, null, null, null, null]]}'
        ),
        lambda memory: memory.write_bytes(b'{"format": 2, "files": [[]]}'),
        lambda memory: memory.write_bytes(memory.read_bytes().replace(b'"format":2', b'"format":1')),
        lambda memory: (memory.unlink(), memory.mkdir()),
    ],
    ids=["torn", "binary", "list", "wrong type", "short row", "old format", "folder"],
)
def test_a_broken_memory_is_not_believed(
    two_games: Path, cache_dir: Path, reads: list[str], damage: Callable[[Path], object]
) -> None:
    (memory,) = (cache_dir / "games-index").iterdir()
    damage(memory)
    assert [entry.problem for entry in index_folder(two_games).entries] == [None, None]
    assert reads == ["a.tw-pddl", "b.tw-pddl"]


def test_a_broken_memory_is_mended(two_games: Path, cache_dir: Path, reads: list[str]) -> None:
    (memory,) = (cache_dir / "games-index").iterdir()
    memory.write_bytes(b"{")
    index_folder(two_games)
    reads.clear()
    index_folder(two_games)
    assert reads == []


def test_an_unwritable_cache_is_done_without(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_game(data / "a.tw-pddl")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ALFWORLD_SFT_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert len(index_folder(data).entries) == 1


def test_no_temporary_files_stay_in_the_cache(two_games: Path, cache_dir: Path) -> None:
    write_game(two_games / "c.tw-pddl")
    index_folder(two_games)
    assert [file.suffix for file in (cache_dir / "games-index").iterdir()] == [".json"]


def test_many_at_once_leave_a_whole_memory(two_games: Path, cache_dir: Path, reads: list[str]) -> None:
    (memory,) = (cache_dir / "games-index").iterdir()

    def disturb() -> None:
        for _ in range(20):
            memory.unlink(missing_ok=True)
            index_folder(two_games)

    threads = [threading.Thread(target=disturb) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    index_folder(two_games)
    assert len(json.loads(memory.read_bytes())["files"]) == 2


@pytest.mark.parametrize("task", ["pick_and_place_with_movable_recep-Egg-Pot-Fridge-2", "x-EggSliced-None-Fridge-2"])
def test_movable_and_sliced_are_skipped_unread(data: Path, reads: list[str], task: str) -> None:
    write_game(data / task / TRIAL / "game.tw-pddl")
    assert [entry.problem for entry in index_folder(data).entries] == [index.MOVABLE_OR_SLICED]
    assert reads == []


def test_movable_further_up_does_not_matter(tmp_path: Path) -> None:
    write_game(tmp_path / "movable" / BOOK / TRIAL / "game.tw-pddl")
    assert [entry.problem for entry in index_folder(tmp_path / "movable").entries] == [None]


def test_a_game_without_the_solvable_key_is_skipped(data: Path) -> None:
    write_game(data / "a.tw-pddl", solvable=...)
    assert [entry.problem for entry in index_folder(data).entries] == [index.UNCHECKED]


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b'{"solvable": tru', b"\xff\xfe", b"[" * 100_000],
    ids=["empty", "list", "cut", "binary", "deep"],
)
def test_a_broken_file_is_skipped(data: Path, content: bytes) -> None:
    (data / "a.tw-pddl").write_bytes(content)
    assert [entry.problem for entry in index_folder(data).entries] == [index.BROKEN]


def test_a_game_whose_sentence_contradicts_its_goal_is_skipped_with_the_reason(data: Path) -> None:
    file = data / "a.tw-pddl"
    room = [Furniture("desk 1", 1, ("mug 1",)), Furniture("fridge 1", 2)]
    for task, problem, detail in (
        ("put a cool mug in desk.", None, None),
        (
            "put a mug in desk.",
            index.CONTRADICTED,
            "its task sentence 'put a mug in desk.' contradicts its goal, which is a cool mug in or on a desk",
        ),
    ):
        file.write_bytes(game_file("pick_cool_then_place_in_recep", "mug", "desk", room, task=task))
        assert [(entry.problem, entry.detail) for entry in index_folder(data).entries] == [(problem, detail)]


def test_a_broken_file_says_what_is_wrong_with_it_when_it_is_remembered_as_well(data: Path) -> None:
    (data / "a.tw-pddl").write_bytes(b"")
    for _ in range(2):
        (entry,) = index_folder(data).entries
        assert entry.detail == "broken (not JSON: Expecting value: line 1 column 1 (char 0))"


def test_a_link_to_nothing_is_an_unreadable_file(data: Path) -> None:
    (data / "a.tw-pddl").symlink_to(data / "absent")
    assert [entry.problem for entry in index_folder(data).entries] == ["unreadable (No such file or directory)"]


def test_an_unreadable_file_keeps_the_reason_that_was_given_and_is_tried_again(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_game(data / "a.tw-pddl")
    with monkeypatch.context() as context:
        context.setattr(index, "_read_limited", _denied)
        assert [entry.problem for entry in index_folder(data).entries] == ["unreadable (Permission denied)"]
    assert [entry.problem for entry in index_folder(data).entries] == [None]


def _denied(file: Path, limit: int) -> bytes:
    raise PermissionError(13, "Permission denied", str(file))


def test_a_file_that_is_too_large_is_called_so(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_game(data / "a.tw-pddl")
    monkeypatch.setattr(index, "MAX_FILE_BYTES", file.stat().st_size - 1)
    assert [entry.problem for entry in index_folder(data).entries] == [index.TOO_LARGE]


def test_linked_folders_are_followed_but_not_in_circles(data: Path, tmp_path: Path) -> None:
    write_game(tmp_path / "elsewhere" / "a.tw-pddl")
    (data / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(data)
    (data / "self").symlink_to(data)
    assert [entry.path for entry in index_folder(data).entries] == ["link/a.tw-pddl"]


def test_hidden_names_are_passed_over(data: Path) -> None:
    write_game(data / "._a.tw-pddl")
    write_game(data / ".hidden" / "b.tw-pddl")
    assert index_folder(data).entries == ()


def test_trials_without_a_game_are_counted(data: Path) -> None:
    write_game(data / "a" / "game.tw-pddl", traj={})
    (data / "b").mkdir()
    (data / "b" / "traj_data.json").write_text("{}")
    assert index_folder(data).trials_without_game == 1


TRAJ = {"task_type": "pick_two_obj_and_place", "scene": {"scene_num": 7}}


def test_traj_data_says_what_the_folder_does_not(data: Path) -> None:
    write_game(data / "mine" / "game.tw-pddl", traj=TRAJ)
    (entry,) = index_folder(data).entries
    assert (entry.task_type, entry.scene) == ("pick_two_obj_and_place", 7)


def test_the_folder_goes_before_traj_data(data: Path) -> None:
    write_game(data / BOOK / TRIAL / "game.tw-pddl", traj=TRAJ)
    (entry,) = index_folder(data).entries
    assert (entry.task_type, entry.scene) == ("pick_and_place_simple", 329)


def test_changed_traj_data_is_noticed_where_it_counts(data: Path) -> None:
    file = write_game(data / "mine" / "game.tw-pddl", traj=TRAJ)
    index_folder(data)
    (file.parent / "traj_data.json").write_text(json.dumps(TRAJ | {"scene": {"scene_num": 11}}))
    assert [entry.scene for entry in index_folder(data).entries] == [11]


@pytest.mark.parametrize(
    "traj", [[], {}, {"task_type": ["x"], "scene": 3}, {"task_type": "x", "scene": {"scene_num": "y"}}]
)
def test_strange_traj_data_says_nothing(data: Path, traj: dict[str, object]) -> None:
    write_game(data / "mine" / "game.tw-pddl", traj=traj)
    (entry,) = index_folder(data).entries
    assert (entry.task_type, entry.scene) == (None, None)


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent: cannot be read: No such file or directory"):
        index_folder(tmp_path / "absent")
