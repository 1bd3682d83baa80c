from pathlib import Path
from random import Random

import pytest

from alfworld_sft.errors import GameFileError, GamesNotFoundError
from alfworld_sft.games import GameRef, GameSource, GameStream, find_games
from alfworld_sft.seeds import derive_seed
from tests.collecting import write_games


def sources(folder: Path) -> list[GameSource]:
    return [find_games(write_games(folder)).shuffled(3), find_games("embedded").shuffled(3), GameStream(3)]


def test_each_round_is_the_sorted_games_shuffled_by_the_seed_and_its_number(tmp_path: Path):
    games = find_games(write_games(tmp_path))
    expected: list[GameRef] = []
    for number in range(3):
        shuffled = sorted(games)
        Random(derive_seed(7, "games", number)).shuffle(shuffled)
        expected += shuffled
    played = games.shuffled(7)
    assert [played.ref(index) for index in range(len(expected))] == expected
    assert [played.ref(index) for index in reversed(range(len(expected)))] == expected[::-1]


def test_a_game_whose_file_has_changed_is_not_played_as_the_one_that_was_listed(tmp_path: Path):
    first, other, *_ = find_games(write_games(tmp_path)).refs
    first.path.write_bytes(other.path.read_bytes())
    with pytest.raises(GameFileError, match="it has changed since the games were listed"):
        first.load()


def test_the_first_games_are_those_of_the_first_episodes(tmp_path: Path):
    for games in sources(tmp_path):
        first = games.first(4)
        assert first.total == 4
        assert {ref.sha256 for ref in first.refs} == {games.ref(index).sha256 for index in range(4)}
        assert first.split == games.split
        assert all(ref.load().id == ref.id for ref in first.refs)


def test_the_first_games_say_how_many_they_are_of_how_many(tmp_path: Path):
    on_disk, embedded, stream = sources(tmp_path)
    assert on_disk.first(4).description == f"4 of {on_disk.description}"
    assert embedded.first(4).description.startswith("4 of 512 embedded train games")
    assert stream.first(4).description == "4 generated train games (seed 3, difficulty normal)"


def test_more_games_than_there_are_is_all_of_them(tmp_path: Path):
    games = find_games(write_games(tmp_path)).shuffled(3)
    assert games.first(1000) == games


def test_only_games_on_disk_name_a_folder(tmp_path: Path):
    on_disk, embedded, stream = sources(tmp_path)
    assert on_disk.folder is not None
    assert (embedded.folder, stream.folder) == (None, None)
    assert ([games.total is None for games in (on_disk, embedded, stream)]) == [False, False, True]


def test_shuffled_games_have_the_hash_of_the_found_ones_and_of_a_choice_another(tmp_path: Path):
    games = find_games(write_games(tmp_path))
    chosen = games.shuffled(1, ["pick_and_place_simple"])
    assert {ref.task_type or ref.load().task_type for ref in map(chosen.ref, range(20))} == {"pick_and_place_simple"}
    assert games.shuffled(1).sha256 == games.sha256 != chosen.sha256
    with pytest.raises(GamesNotFoundError, match="no games of the task types pick_two_obj_and_place among "):
        chosen_games = find_games(write_games(tmp_path / "one", 1))
        chosen_games.shuffled(1, ["pick_two_obj_and_place"])
