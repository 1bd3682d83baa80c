from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from alfworld_sft.errors import UserError
from alfworld_sft.games import check_split, check_split_is_trainable, default_data_dir
from alfworld_sft.games.layout import game_id, may_stand_for, path_id, read_task_folder, split_of
from tests.games.conftest import BOOK, TRIAL


def test_a_known_split_passes() -> None:
    assert check_split("valid_seen") == "valid_seen"


def test_a_misspelt_split_gets_a_suggestion() -> None:
    with pytest.raises(UserError) as error:
        check_split("valid_sen")
    assert str(error.value) == "unknown split 'valid_sen'; did you mean 'valid_seen'?"


def test_a_strange_split_gets_the_list() -> None:
    with pytest.raises(UserError) as error:
        check_split("xyz")
    assert str(error.value) == "unknown split 'xyz'; the splits are train, valid_train, valid_seen, valid_unseen"


@pytest.mark.parametrize(
    ("own", "split", "may"),
    [
        ("train", "train", True),
        ("valid_train", "train", True),
        ("train", "valid_train", False),
        ("valid_seen", "train", False),
    ],
)
def test_games_of_valid_train_are_games_of_train(own: str, split: str, may: bool) -> None:
    assert may_stand_for(own, split) is may


@pytest.mark.parametrize("split", ["train", "valid_train"])
def test_train_games_are_trainable(split: str) -> None:
    check_split_is_trainable(split, allow=False)


@pytest.mark.parametrize("split", ["valid_seen", "valid_unseen"])
def test_evaluation_games_are_not_trainable(split: str) -> None:
    with pytest.raises(UserError) as error:
        check_split_is_trainable(split, allow=False)
    assert str(error.value) == (
        f"split '{split}' is for evaluation; data for training comes from 'train'"
        " (to collect from it anyway: --allow-eval-split, or games.allow_eval_split=true)"
    )


def test_evaluation_games_are_trainable_when_allowed() -> None:
    check_split_is_trainable("valid_seen", allow=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pick_heat_then_place_in_recep-Egg-None-Fridge-23", ("pick_heat_then_place_in_recep", 23)),
        ("look_at_obj_in_light-AlarmClock-None-DeskLamp-323", ("look_at_obj_in_light", 323)),
        ("pick_and_place_with_movable_recep-Egg-Pot-Fridge-23", None),
        ("pick_and_place_simple-Book-None-SideTable", None),
        ("pick_and_place_simple-Book-None-SideTable-x", None),
        ("my-games", None),
    ],
)
def test_task_type_and_scene_are_read_from_the_folder(name: str, expected: object) -> None:
    assert read_task_folder(name) == expected


def test_the_place_names_the_split() -> None:
    assert split_of(Path(f"/x/valid_seen/{BOOK}/{TRIAL}/game.tw-pddl")) == "valid_seen"


def test_a_folder_further_up_does_not_name_the_split() -> None:
    assert split_of(Path("/train/mine/a/b/game.tw-pddl")) is None


def test_the_id_is_task_and_trial_from_wherever_one_looks() -> None:
    file = PurePosixPath(f"/data/json_2.1.1/train/{BOOK}/{TRIAL}/game.tw-pddl")
    assert {game_id(file, top) for top in file.parents} == {f"{BOOK}/{TRIAL}"}


def test_the_id_has_slashes_on_windows_too() -> None:
    file = PureWindowsPath(rf"C:\data\json_2.1.1\train\{BOOK}\{TRIAL}\game.tw-pddl")
    assert game_id(file, file.parents[2]) == f"{BOOK}/{TRIAL}"


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("/mine/a/b.tw-pddl", "a/b"),
        ("/mine/b.tw-pddl", "b"),
        ("/mine/a/game.tw-pddl", "a"),
        ("/mine/game.tw-pddl", "mine"),
        (f"/mine/{BOOK}/{TRIAL}/other.tw-pddl", f"{BOOK}/{TRIAL}/other"),
    ],
)
def test_ids_outside_the_layout_are_relative_paths(file: str, expected: str) -> None:
    assert game_id(PurePosixPath(file), PurePosixPath("/mine")) == expected


def test_a_name_that_is_no_text_becomes_text() -> None:
    assert path_id(PurePosixPath("/mine/caf\udce9.tw-pddl"), PurePosixPath("/mine")) == r"caf\xe9"


def test_alfworld_data_names_the_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", "/some/where")
    assert default_data_dir() == Path("/some/where")


def test_without_alfworld_data_the_folder_is_alfworlds_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/her")
    assert default_data_dir() == Path("/home/her/.cache/alfworld")
