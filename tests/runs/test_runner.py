import asyncio
from collections import Counter
from dataclasses import replace

from alfworld_sft.games import Games, find_games
from alfworld_sft.policies.random_player import RandomPlayer
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.rollout import Protocol
from alfworld_sft.runs.runner import run_episodes
from alfworld_sft.runs.store import RunFolder, create_run
from tests.collecting import write_games


def order(games: Games, seed: int, number: int) -> list[str]:
    return [games.shuffled(seed).ref(index).id for index in range(number)]


def test_every_game_is_played_before_one_is_played_twice(tmp_path):
    games = find_games(write_games(tmp_path))
    played = order(games, 1, 36)
    assert Counter(played[:12]) == Counter(played[12:24]) == Counter(ref.id for ref in games)
    assert played[:12] != played[12:24], "each round has an order of its own"


def test_the_order_depends_on_the_seed_and_not_on_the_listing(tmp_path):
    games = find_games(write_games(tmp_path))
    assert order(games, 1, 30) == order(replace(games, refs=games.refs[::-1]), 1, 30)
    assert order(games, 1, 12) != order(games, 2, 12)


def run(folder: RunFolder, games: Games, total: int, concurrency: int = 4) -> list:
    heard: list = []
    asyncio.run(
        run_episodes(
            folder,
            total,
            games.shuffled(3),
            RandomPlayer(),
            load_template("default"),
            Protocol(max_steps=5),
            seed=3,
            concurrency=concurrency,
            on_episode=heard.append,
        )
    )
    return heard


def test_only_owed_episodes_are_played_and_they_are_the_same_as_ever(tmp_path):
    games = find_games(write_games(tmp_path / "data"))
    with create_run(tmp_path, {}, name="whole") as whole, create_run(tmp_path, {}, name="part") as part:
        assert len(run(whole, games, 20)) == 20
        run(part, games, 7)
        assert len(run(part, games, 20)) == 13
        assert list(part.episodes()) == list(whole.episodes())


def test_concurrency_changes_nothing_but_the_speed(tmp_path):
    games = find_games(write_games(tmp_path / "data"))
    with create_run(tmp_path, {}, name="one") as one, create_run(tmp_path, {}, name="many") as many:
        run(one, games, 10, concurrency=1)
        run(many, games, 10, concurrency=10)
        assert list(one.episodes()) == list(many.episodes())


def test_a_game_that_cannot_be_read_is_noted_and_the_run_goes_on(tmp_path):
    games = find_games(write_games(tmp_path / "data", 3))
    games.refs[1].path.write_bytes(b"{}")
    with create_run(tmp_path, {}, name="run") as folder:
        heard = run(folder, games, 6)
        assert heard.count(None) == 2
        assert folder.played == 4
        assert len(folder.failed) == 2
        assert all("it has changed since" in reason for reason in folder.failed.values())
