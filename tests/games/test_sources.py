from pathlib import Path

import pytest

from alfworld_sft.errors import GameFileError, GamesNotFoundError, UserError
from alfworld_sft.games import find_all_games, find_games
from alfworld_sft.games.index import CONTRADICTED
from alfworld_sft.games.sources import HOW_TO_GET_GAMES
from tests.games.conftest import BOOK, EGG, TRIAL, official, write_game
from tests.handmade import Furniture, game_file


def ids(source: Path, split: str = "train") -> list[str]:
    return [ref.id for ref in find_games(source, split)]


def error_of(source: Path | None, split: str = "train") -> str:
    with pytest.raises(UserError) as error:
        find_games(source, split)
    return str(error.value)


@pytest.mark.parametrize("place", [".", "json_2.1.1", "json_2.1.1/train", f"json_2.1.1/train/{BOOK}"])
def test_a_game_has_the_same_id_wherever_one_starts(data: Path, place: str) -> None:
    official(data, "train")
    assert ids(data / place) == [f"{BOOK}/{TRIAL}"]


def test_a_single_file_has_the_same_id_too(data: Path) -> None:
    assert ids(official(data, "train")) == [f"{BOOK}/{TRIAL}"]


def test_a_ref_knows_what_its_place_says(data: Path) -> None:
    file = official(data, "valid_seen", EGG)
    (ref,) = find_games(data, "valid_seen")
    assert (ref.split, ref.task_type, ref.scene, ref.path) == ("valid_seen", "pick_heat_then_place_in_recep", 23, file)


def test_a_game_whose_sentence_contradicts_its_goal_is_passed_over_and_counted(data: Path) -> None:
    room = [Furniture("desk 1", 1, ("mug 1",)), Furniture("fridge 1", 2)]
    for name, task in (("a", "put a cool mug in desk."), ("b", "put a mug in desk.")):
        content = game_file("pick_cool_then_place_in_recep", "mug", "desk", room, task=task)
        (data / f"{name}.tw-pddl").write_bytes(content)
    games = find_games(data)
    assert ([ref.id for ref in games], games.skipped) == (["a"], {CONTRADICTED: 1})
    assert error_of(data / "b.tw-pddl") == (
        f"{data}/b.tw-pddl: its task sentence 'put a mug in desk.' contradicts its goal,"
        " which is a cool mug in or on a desk"
    )


def test_refs_are_sorted_by_id(data: Path) -> None:
    for task, trial in ((EGG, "t2"), (BOOK, "t3"), (EGG, "t1")):
        official(data, "train", task, trial)
    assert ids(data) == [f"{BOOK}/t3", f"{EGG}/t1", f"{EGG}/t2"]


def test_a_split_holds_only_its_own_games(data: Path) -> None:
    official(data, "train", BOOK)
    official(data, "valid_seen", EGG)
    assert ids(data, "valid_seen") == [f"{EGG}/{TRIAL}"]


def test_train_is_the_folder_train_where_there_is_one(data: Path) -> None:
    official(data, "train", BOOK)
    official(data, "valid_train", EGG)
    assert ids(data) == [f"{BOOK}/{TRIAL}"]


def test_train_is_valid_train_where_that_is_all_there_is(data: Path) -> None:
    official(data, "valid_train")
    games = find_games(data, "train")
    assert games.description == f"1 train game in {data}/json_2.1.1/valid_train (a published subset of train)"
    assert [ref.split for ref in games] == ["train"]


def test_alfworld_data_is_the_default_source(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(data))
    official(data, "train")
    assert len(find_games()) == 1


def test_relative_and_absolute_sources_give_the_same(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    official(data, "train")
    monkeypatch.chdir(data)
    assert find_games(".").refs == find_games(data).refs


def test_any_folder_of_game_files_is_a_source(data: Path) -> None:
    write_game(data / "deep" / "er" / "b.tw-pddl")
    write_game(data / "a.tw-pddl")
    assert ids(data, "valid_seen") == ["a", "deep/er/b"]


def test_a_folder_elsewhere_keeps_the_split_that_its_place_names(data: Path) -> None:
    official(data, "valid_seen")
    assert error_of(data / "json_2.1.1" / "valid_seen", "train") == (
        f"no games found in {data}/json_2.1.1/valid_seen: all were skipped: 1 of the split 'valid_seen';"
        f" {HOW_TO_GET_GAMES}"
    )


def test_a_file_keeps_the_split_that_its_place_names(data: Path) -> None:
    file = official(data, "valid_seen")
    assert error_of(file, "train") == f"no games found: {file} is a game of the split 'valid_seen', not of 'train'"


def test_copies_of_a_game_are_listed_once(data: Path) -> None:
    for folder in ("x", "y"):
        write_game(data / folder / BOOK / TRIAL / "game.tw-pddl")
    games = find_games(data)
    assert ([ref.id for ref in games], games.skipped) == (
        [f"{BOOK}/{TRIAL}"],
        {"listed already (same id, same content)": 1},
    )


def test_different_games_with_one_id_go_by_their_paths(data: Path) -> None:
    for folder in ("x", "y"):
        write_game(data / folder / BOOK / TRIAL / "game.tw-pddl", pddl_problem=folder)
    assert ids(data) == [f"x/{BOOK}/{TRIAL}", f"y/{BOOK}/{TRIAL}"]


def test_a_file_and_a_folder_of_one_name_are_two_games(data: Path) -> None:
    write_game(data / "x.tw-pddl", number=1)
    write_game(data / "x" / "game.tw-pddl", number=2)
    assert [ref.id for ref in find_games(data, "train")] == ["x.tw-pddl", "x/game.tw-pddl"]


def test_the_home_of_nobody_is_a_place_that_does_not_exist() -> None:
    with pytest.raises(GamesNotFoundError, match="~nosuchuser/x does not exist"):
        find_games("~nosuchuser/x")


def test_what_is_skipped_is_counted_by_reason(data: Path) -> None:
    official(data, "train")
    official(data, "train", trial="t2", solvable=False)
    official(data, "train", trial="t3", solvable=...)
    official(data, "train", trial="t4").write_text("{")
    official(data, "train", "pick_and_place_with_movable_recep-Egg-Pot-Fridge-2", traj={})
    official(data, "train", trial="t5", traj={}).unlink()
    assert find_games(data).skipped == {
        "broken (not a JSON object)": 1,
        "marked unsolvable": 1,
        "with a movable receptacle or a sliced object": 1,
        "without a 'solvable' key": 1,
        "without a game file beside traj_data.json": 1,
    }


def test_skipped_files_are_told_in_one_line_with_the_first_reason(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    official(data, "train")
    folder = data / "json_2.1.1" / "train"
    for number in range(2000):
        (folder / f"x{number:04}.tw-pddl").write_text("{")
    official(data, "train", trial="t2", solvable=False)
    games = find_games(data)
    assert caplog.records == []
    assert games.warning == (
        "skipped 2,001 of 2,002 games: 2,000 broken (not a JSON object), 1 marked unsolvable"
        f" (the first: {folder / BOOK}/t2/game.tw-pddl: marked unsolvable); to list them:"
        f" alfworld-sft games list --source {folder} --split train --skipped"
    )


def test_where_nothing_is_skipped_nothing_is_told(data: Path) -> None:
    official(data, "train")
    games = find_games(data)
    assert (games.skipped, games.warning) == ({}, None)


def test_the_copy_that_is_skipped_is_named(data: Path) -> None:
    for folder in ("x", "y"):
        write_game(data / folder / BOOK / TRIAL / "game.tw-pddl")
    assert [file.path for file in find_games(data).skipped_files] == [data / "y" / BOOK / TRIAL / "game.tw-pddl"]


def test_counts_come_in_the_order_of_the_task_types(data: Path) -> None:
    official(data, "train", EGG)
    official(data, "train", BOOK, "t1")
    official(data, "train", BOOK, "t2")
    write_game(data / "json_2.1.1" / "train" / "mine.tw-pddl")
    assert list(find_games(data).counts.items()) == [
        ("pick_and_place_simple", 2),
        ("pick_heat_then_place_in_recep", 1),
        (None, 1),
    ]


def test_the_hash_of_all_games_changes_with_one(data: Path) -> None:
    official(data, "train")
    before = find_games(data).sha256
    official(data, "train", pddl_problem="other")
    assert find_games(data).sha256 != before


def test_the_hash_of_all_games_does_not_depend_on_where_they_lie(data: Path, tmp_path: Path) -> None:
    official(data, "train")
    official(tmp_path / "copy", "valid_train")
    assert find_games(data).sha256 == find_games(tmp_path / "copy").sha256


def test_loading_a_broken_game_names_the_file(data: Path) -> None:
    file = official(data, "train")
    (ref,) = find_games(data)
    with pytest.raises(GameFileError) as error:
        ref.load()
    assert error.value.file == str(file)


def test_a_missing_folder_is_named() -> None:
    assert error_of(Path("/no/such/folder")) == f"no games found: /no/such/folder does not exist; {HOW_TO_GET_GAMES}"


def test_an_empty_folder_is_named(data: Path) -> None:
    assert error_of(data) == f"no games found in {data}: it holds no .tw-pddl files; {HOW_TO_GET_GAMES}"


def test_the_way_to_get_games_is_told() -> None:
    assert HOW_TO_GET_GAMES == (
        "get the official games with 'alfworld-sft games fetch', make some with 'alfworld-sft games generate',"
        " or play those that come with the package (source 'embedded')"
    )


def test_traj_data_without_games_is_told(data: Path) -> None:
    official(data, "train", traj={}).unlink()
    official(data, "valid_seen")
    assert error_of(data) == (
        f"no games found in {data}/json_2.1.1/train: it holds 1 traj_data.json but no .tw-pddl files"
        f" (other splits there: valid_seen); {HOW_TO_GET_GAMES}"
    )


def test_a_missing_split_names_those_that_exist(data: Path) -> None:
    official(data, "valid_train")
    official(data, "valid_seen")
    assert error_of(data, "valid_unseen") == (
        f"no games found: {data}/json_2.1.1 has no folder 'valid_unseen', only valid_train, valid_seen;"
        f" {HOW_TO_GET_GAMES}"
    )


def test_an_archive_is_not_a_source(tmp_path: Path) -> None:
    file = tmp_path / "json.zip"
    file.write_bytes(b"")
    assert error_of(file) == (
        f"no games found: {file} is an archive; unpack it with 'alfworld-sft games fetch --from json.zip'"
    )


def test_another_kind_of_file_is_not_a_source(tmp_path: Path) -> None:
    file = tmp_path / "game.z8"
    file.write_bytes(b"")
    assert error_of(file) == f"no games found: {file} is not a .tw-pddl file; {HOW_TO_GET_GAMES}"


def test_a_single_unsolvable_file_is_refused(data: Path) -> None:
    file = write_game(data / "a.tw-pddl", solvable=False)
    with pytest.raises(GameFileError) as error:
        find_games(file)
    assert str(error.value) == f"{file}: it is marked unsolvable"


def test_an_unknown_split_is_told_before_anything_is_searched() -> None:
    assert error_of(Path("/no/such/folder"), "trian") == "unknown split 'trian'; did you mean 'train'?"


@pytest.mark.parametrize("place", [".", "json_2.1.1", "json_2.1.1/train"])
def test_a_folder_that_a_fetch_is_moving_into_is_not_played(data: Path, place: str) -> None:
    official(data, "train")
    (data / ".alfworld-sft-fetch" / "ready").mkdir(parents=True)
    assert error_of(data / place) == (
        f"{data}: 'alfworld-sft games fetch' is moving files there, or was broken off; run it again to finish"
    )


def test_all_games_are_those_of_every_split(data: Path) -> None:
    official(data, "valid_train")
    official(data, "valid_unseen", EGG)
    (data / "json_2.1.1" / "valid_seen").mkdir()
    assert [(games.split, len(games)) for games in find_all_games(data)] == [("train", 1), ("valid_unseen", 1)]


def test_all_games_of_another_layout_are_counted_once(data: Path) -> None:
    write_game(data / "a.tw-pddl")
    write_game(data / "copy" / "valid_seen" / BOOK / TRIAL / "game.tw-pddl")
    assert [(games.split, len(games)) for games in find_all_games(data)] == [("train", 1), ("valid_seen", 1)]


def test_a_split_whose_files_are_all_skipped_is_not_left_out(data: Path) -> None:
    official(data, "train")
    official(data, "valid_seen", solvable=False)
    found = [(games.split, len(games), games.skipped) for games in find_all_games(data)]
    assert found == [("train", 1, {}), ("valid_seen", 0, {"marked unsolvable": 1})]


def test_no_usable_games_in_any_split_is_an_error(data: Path) -> None:
    official(data, "train", solvable=False)
    official(data, "valid_seen", solvable=False)
    with pytest.raises(GamesNotFoundError, match="all were skipped: 1 marked unsolvable"):
        find_all_games(data)


def test_no_games_in_any_split_is_an_error(data: Path) -> None:
    with pytest.raises(GamesNotFoundError):
        find_all_games(data)
