import asyncio
from pathlib import Path

import pytest

from alfworld_sft.errors import UserError
from alfworld_sft.games import GameStream, find_games
from alfworld_sft.policies.planner import Planner
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.rollout import Protocol
from alfworld_sft.runs.runner import run_episodes
from alfworld_sft.runs.store import create_run
from alfworld_sft.types import Episode


def test_a_number_has_its_game_whatever_was_asked_before():
    stream = GameStream(seed=1)
    backwards = [stream.ref(index) for index in reversed(range(6))]
    assert [GameStream(seed=1).ref(index) for index in range(6)] == backwards[::-1]


def test_every_number_and_every_seed_has_a_game_of_its_own():
    refs = [GameStream(seed).ref(index) for seed in (1, 2) for index in range(20)]
    assert len({ref.sha256 for ref in refs}) == 40
    assert len({ref.scene for ref in refs}) == 40


def test_a_ref_says_what_its_game_is():
    ref = GameStream(seed=3, split="valid_seen").ref(0)
    game = ref.load()
    assert (game.id, game.split, game.task_type, game.scene) == (ref.id, "valid_seen", ref.task_type, ref.scene)


def test_task_types_can_be_chosen():
    stream = GameStream(seed=3, task_types=["look_at_obj_in_light"])
    assert {stream.ref(index).task_type for index in range(8)} == {"look_at_obj_in_light"}


def test_the_description_says_all_that_decides_the_games():
    assert GameStream(7).description == "a generated train game for every episode (seed 7, difficulty normal)"
    assert GameStream(7, "valid_unseen", ["pick_two_obj_and_place"], "hard").description == (
        "a generated valid_unseen game for every episode (seed 7, difficulty hard, only pick_two_obj_and_place)"
    )


def test_the_hash_tells_streams_apart():
    streams = [GameStream(7), GameStream(8), GameStream(7, "valid_seen"), GameStream(7, difficulty="hard")]
    assert len({stream.sha256 for stream in streams}) == 4
    assert GameStream(7).sha256 == GameStream(7).sha256


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"split": "valid_train"}, "there are no generated games of the split 'valid_train', only of train"),
        ({"difficulty": "heavy"}, "unknown difficulty 'heavy'; there are easy, normal, hard, or a number from 0 to 2"),
    ],
)
def test_wrong_options_are_told_before_anything_is_played(options: dict[str, str], line: str):
    with pytest.raises(UserError) as error:
        GameStream(1, **options)
    assert str(error.value).startswith(line)


def test_a_stream_has_no_list():
    with pytest.raises(UserError) as error:
        find_games("generate")
    assert str(error.value) == "the source 'generate' makes a game for every episode: there is no list of its games"


def play(folder: Path, name: str, *totals: int) -> list[Episode]:
    with create_run(folder, {}, name=name) as run:
        for total in totals:
            asyncio.run(
                run_episodes(
                    run,
                    total,
                    GameStream(5),
                    Planner(),
                    load_template("compact"),
                    Protocol(),
                    seed=5,
                    concurrency=4,
                    on_episode=lambda _: None,
                )
            )
        return list(run.episodes())


def test_a_run_of_a_stream_goes_on_with_the_same_games(tmp_path: Path):
    whole = play(tmp_path, "whole", 12)
    assert play(tmp_path, "part", 5, 12) == whole
    assert [episode.game_id for episode in whole] == [GameStream(5).ref(index).id for index in range(12)]
    assert all(episode.success for episode in whole)
