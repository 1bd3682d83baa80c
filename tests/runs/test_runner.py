import asyncio
from collections import Counter
from itertools import islice

from alfworld_sft.games import find_games
from alfworld_sft.policies.random_player import RandomPlayer
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.rollout import Protocol
from alfworld_sft.runs.runner import game_order, run_episodes
from alfworld_sft.runs.store import RunFolder, create_run
from tests.collecting import write_games


def test_every_game_is_played_before_one_is_played_twice(tmp_path):
    refs = find_games(write_games(tmp_path)).refs
    order = [ref.id for ref in islice(game_order(refs, seed=1), 36)]
    assert Counter(order[:12]) == Counter(order[12:24]) == Counter(ref.id for ref in refs)
    assert order[:12] != order[12:24], "each round has an order of its own"


def test_the_order_depends_on_the_seed_and_not_on_the_listing(tmp_path):
    refs = find_games(write_games(tmp_path)).refs
    assert list(islice(game_order(refs, 1), 30)) == list(islice(game_order(refs[::-1], 1), 30))
    assert list(islice(game_order(refs, 1), 12)) != list(islice(game_order(refs, 2), 12))


def run(folder: RunFolder, refs, total: int, concurrency: int = 4) -> list:
    heard: list = []
    asyncio.run(
        run_episodes(
            folder,
            total,
            refs,
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
    refs = find_games(write_games(tmp_path / "data")).refs
    with create_run(tmp_path, {}, name="whole") as whole, create_run(tmp_path, {}, name="part") as part:
        assert len(run(whole, refs, 20)) == 20
        run(part, refs, 7)
        assert len(run(part, refs, 20)) == 13
        assert list(part.episodes()) == list(whole.episodes())


def test_concurrency_changes_nothing_but_the_speed(tmp_path):
    refs = find_games(write_games(tmp_path / "data")).refs
    with create_run(tmp_path, {}, name="one") as one, create_run(tmp_path, {}, name="many") as many:
        run(one, refs, 10, concurrency=1)
        run(many, refs, 10, concurrency=10)
        assert list(one.episodes()) == list(many.episodes())


def test_a_game_that_cannot_be_read_is_noted_and_the_run_goes_on(tmp_path):
    refs = find_games(write_games(tmp_path / "data", 3)).refs
    refs[1].path.write_bytes(b"{}")
    with create_run(tmp_path, {}, name="run") as folder:
        heard = run(folder, refs, 6)
        assert heard.count(None) == 2
        assert folder.played == 4
        assert all("it lacks the text" in reason for reason in folder.failed.values())
