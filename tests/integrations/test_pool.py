"""Games by number and by id, drawn, and kept."""

from pathlib import Path
from random import Random

import pytest

from alfworld_sft.errors import GamesNotFoundError, UserError
from alfworld_sft.games import find_games
from alfworld_sft.integrations.pool import GamePool, shared_pool
from tests.handmade import kitchen_file


def test_games_are_numbered_in_the_order_of_their_ids():
    pool = GamePool("embedded", "valid_seen")
    ids = [ref.id for ref in find_games("embedded", "valid_seen")]
    assert (pool.total, [pool.load(number).id for number in range(64)]) == (64, sorted(ids))
    assert pool.load(ids[5]) is pool.load(ids[5])


def test_games_of_some_task_types_alone():
    pool = GamePool("embedded", "train", task_types=["pick_two_obj_and_place"])
    assert {pool.load(number).task_type for number in range(pool.total or 0)} == {"pick_two_obj_and_place"}


def test_a_shared_pool_is_that_of_the_folder_where_the_program_is(tmp_path, monkeypatch):
    for name in "ab":
        file = tmp_path / name / "games" / f"{name}.tw-pddl"
        file.parent.mkdir(parents=True)
        file.write_bytes(kitchen_file())
        monkeypatch.chdir(tmp_path / name)
        assert shared_pool("games").load(0).id == name


def test_a_text_is_no_list_of_task_types_for_a_shared_pool_either():
    with pytest.raises(UserError, match="a list"):
        shared_pool("embedded", task_types="pick_and_place_simple")


@pytest.mark.parametrize("source", ["embedded", "generate"])
@pytest.mark.parametrize(
    ("task_types", "line"),
    [
        (
            ["pick_and_place_simple", "pick_two_obj"],
            "unknown task type 'pick_two_obj'; did you mean 'pick_two_obj_and_place'",
        ),
        ("pick_and_place_simple", r"task_types='pick_and_place_simple': a list .* \['pick_and_place_simple'\]"),
    ],
)
def test_task_types_that_there_are_none_of_are_refused(source, task_types, line):
    with pytest.raises(UserError, match=line):
        GamePool(source, "train", task_types=task_types)


def test_draws_reach_every_game():
    pool, rng = GamePool("embedded", "valid_seen"), Random(0)
    assert len({pool.draw(rng.randrange).id for _ in range(600)}) == 64


def test_generated_games_have_no_end_and_are_the_same_for_the_same_numbers():
    pool = GamePool("generate", "train", games_seed=3)
    assert pool.total is None
    assert pool.load(10**6).fingerprint == GamePool("generate", "train", games_seed=3).load(10**6).fingerprint
    assert pool.load(0).id != GamePool("generate", "train", games_seed=4).load(0).id


def test_games_of_a_folder(tmp_path: Path):
    trial = tmp_path / "valid_seen" / "task" / "trial_1"
    trial.mkdir(parents=True)
    (trial / "game.tw-pddl").write_bytes(kitchen_file())
    assert GamePool(tmp_path, "valid_seen").load("task/trial_1").task == "heat some apple and put it in fridge."


@pytest.mark.parametrize(
    ("which", "message"),
    [
        (64, r"^no game 64 among 64 embedded valid_seen games .*; numbers are 0 to 63$"),
        (-1, r"^no game -1 among 64 embedded valid_seen games .*; numbers are 0 to 63$"),
        ("kitchen", r"^no game 'kitchen' among 64 embedded valid_seen games .*; name one by its number or id$"),
        (True, r"^a game is named by its number or its id, not by bool$"),
        (1.5, r"^a game is named by its number or its id, not by float$"),
    ],
)
def test_a_game_that_there_is_not_is_refused(which: int, message: str):
    with pytest.raises(UserError, match=message):
        GamePool("embedded", "valid_seen").load(which)


def test_a_near_miss_of_an_id_gets_a_suggestion():
    name = find_games("embedded", "valid_seen").refs[0].id
    with pytest.raises(UserError, match=f"did you mean '{name}'"):
        GamePool("embedded", "valid_seen").load(name[:-1])


def test_a_place_without_games_is_refused(tmp_path: Path):
    with pytest.raises(GamesNotFoundError, match="no games found"):
        GamePool(tmp_path, "train")
    with pytest.raises(UserError, match="split"):
        GamePool("embedded", "validation")
