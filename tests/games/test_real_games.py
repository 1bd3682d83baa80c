"""The published games in `../shared/alfworld_data`, where they are there."""

from pathlib import Path

import pytest

from alfworld_sft.games import find_games

ALFWORLD_DATA = Path(__file__).parents[3] / "shared" / "alfworld_data"
pytestmark = [
    pytest.mark.real_games,
    pytest.mark.skipif(not ALFWORLD_DATA.is_dir(), reason=f"no real games in {ALFWORLD_DATA}"),
]


def test_valid_seen_has_the_published_counts() -> None:
    games = find_games(ALFWORLD_DATA, "valid_seen")
    assert list(games.counts.values()) == [35, 13, 27, 16, 25, 24]
    assert games.skipped == {}


def test_train_is_the_published_subset() -> None:
    assert len(find_games(ALFWORLD_DATA, "train")) == 200


def test_every_sentence_asks_for_its_games_goal() -> None:
    refs = [ref for split in ("train", "valid_seen") for ref in find_games(ALFWORLD_DATA, split)]
    assert len([ref.load() for ref in refs]) == 340


def test_every_ref_says_what_its_game_says() -> None:
    for split in ("train", "valid_seen"):
        for ref in find_games(ALFWORLD_DATA, split).refs[::10]:
            game = ref.load()
            assert (game.id, game.split, game.task_type, game.scene) == (ref.id, split, ref.task_type, ref.scene)
