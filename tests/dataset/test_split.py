from collections import Counter

import pytest

from alfworld_sft.dataset.split import GameRows, held_out_games
from alfworld_sft.types import TASK_TYPES


def games(number: int, rows: int = 8) -> dict[str, GameRows]:
    return {f"game{i:04d}": GameRows(TASK_TYPES[i % 6], rows + i % 5) for i in range(number)}


@pytest.mark.parametrize("seed", range(20))
def test_a_tenth_of_the_rows_is_held_out_on_200_games(seed):
    made = games(200)
    held_out = held_out_games(made, 0.1, seed)
    share = sum(made[g].rows for g in held_out) / sum(game.rows for game in made.values())
    assert 0.09 <= share <= 0.11


def test_every_task_type_is_held_out_in_proportion():
    made = games(240)
    held_out = Counter(made[g].task_type for g in held_out_games(made, 0.1, 3))
    assert set(held_out) == set(TASK_TYPES)
    assert max(held_out.values()) - min(held_out.values()) <= 2


def test_the_seed_decides_and_the_order_of_games_does_not():
    made = games(60)
    backwards = dict(reversed(made.items()))
    assert held_out_games(made, 0.1, 1) == held_out_games(backwards, 0.1, 1)
    assert held_out_games(made, 0.1, 1) != held_out_games(made, 0.1, 2)


def test_two_games_are_one_for_training_and_one_for_validation():
    assert len(held_out_games(games(2), 0.1, 0)) == 1


def test_one_game_trains():
    assert held_out_games(games(1), 0.1, 0) == frozenset()


def test_no_fraction_holds_out_nothing():
    assert held_out_games(games(50), 0.0, 0) == frozenset()
