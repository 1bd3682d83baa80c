import gzip
from pathlib import Path

import pytest

from alfworld_sft.errors import GamesNotFoundError
from alfworld_sft.games import find_all_games, find_games
from alfworld_sft.games.embedded import FILE, SIZES
from alfworld_sft.types import TASK_TYPES
from alfworld_sft.world import Env
from scripts.make_embedded_games import content
from tests.games.conftest import official


def test_the_file_is_small():
    assert FILE.stat().st_size < 2**20


def test_the_file_holds_what_the_generator_makes():
    assert gzip.decompress(FILE.read_bytes()) == content()


@pytest.mark.parametrize(("split", "number"), SIZES.items())
def test_every_split_has_its_games_of_all_task_types(split: str, number: int):
    games = find_games("embedded", split)
    assert (len(games), games.split) == (number, split)
    assert games.description == f"{number} embedded {split} games (generated; they come with the package)"
    assert list(games.counts) == list(TASK_TYPES)
    assert len({ref.id for ref in games}) == len({ref.sha256 for ref in games}) == number
    assert list(games.refs) == sorted(games.refs)


@pytest.mark.parametrize("split", SIZES)
def test_a_ref_says_what_its_game_is_and_the_walkthrough_wins(split: str):
    for ref in find_games("embedded", split).refs[::8]:
        game = ref.load()
        assert (game.id, game.split, game.task_type, game.scene) == (ref.id, split, ref.task_type, ref.scene)
        env = Env(game)
        env.reset()
        assert [env.step(command).won for command in game.walkthrough or ()][-1:] == [True]


def test_no_validation_game_is_a_training_game():
    train, *others = ({ref.sha256 for ref in find_games("embedded", split)} for split in SIZES)
    assert all(train.isdisjoint(other) for other in others)


def test_unseen_rooms_are_in_no_other_split():
    train, seen, unseen = ({ref.scene for ref in find_games("embedded", split)} for split in SIZES)
    assert unseen.isdisjoint(train | seen)


def test_they_are_the_default_where_no_other_games_are_named():
    assert find_games().description == "512 embedded train games (generated; they come with the package)"
    assert [games.split for games in find_all_games()] == list(SIZES)


def test_they_are_not_the_default_where_alfworld_data_names_others(data: Path, monkeypatch: pytest.MonkeyPatch):
    official(data, "train")
    monkeypatch.setenv("ALFWORLD_DATA", str(data))
    assert len(find_games()) == 1
    assert len(find_games("embedded")) == 512


def test_a_split_that_they_lack_is_refused():
    with pytest.raises(GamesNotFoundError) as error:
        find_games("embedded", "valid_train")
    assert str(error.value) == (
        "no games found: the embedded games have no split 'valid_train', only train, valid_seen, valid_unseen"
    )


def test_a_folder_of_that_name_is_told_apart_by_its_path(data: Path, monkeypatch: pytest.MonkeyPatch):
    official(data / "embedded", "train")
    monkeypatch.chdir(data)
    assert len(find_games("./embedded")) == 1
