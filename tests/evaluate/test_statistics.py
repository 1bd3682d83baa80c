import random
from math import comb, inf

import pytest

from alfworld_sft.evaluate.statistics import (
    Interval,
    effective_count,
    exact_p_value,
    paired_difference,
    pass_at_k,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("won", "played", "expected"),
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_s_interval_is_the_published_one(won, played, expected):
    """Newcombe (1998), Statistics in Medicine 17:857, table I, method 3."""
    assert wilson_interval(won / played, played) == pytest.approx(expected, abs=5e-5)


def test_wilson_s_interval_touches_its_ends_exactly():
    assert wilson_interval(0.0, 134).low == 0.0
    assert wilson_interval(1.0, 134).high == 1.0
    assert wilson_interval(0.0, 0) == Interval(0.0, 1.0)


def test_plays_of_different_games_count_in_full():
    assert effective_count([[True], [False], [True], [True]]) == pytest.approx(4)


def test_plays_that_always_end_the_same_way_count_once_a_game():
    assert effective_count([[True] * 5, [False] * 5, [True] * 5]) == pytest.approx(3)


def test_plays_that_all_end_the_same_way_count_once_a_game():
    assert effective_count([[True] * 5, [True] * 5]) == 2


def test_plays_are_never_worth_more_than_their_number():
    assert effective_count([[True, False]] * 99 + [[True, True]]) == 200
    assert effective_count([]) == 0


@pytest.mark.parametrize("plays", [[[True, False, False]], [[True, False], [True, False]]])
def test_games_that_do_not_differ_say_nothing_of_how_games_differ(plays):
    assert effective_count(plays) == len(plays)


@pytest.mark.parametrize(("games", "plays"), [(3, 8), (5, 8), (13, 4), (30, 4)])
def test_the_interval_holds_the_rate_in_nearly_all_samples_of_games_that_differ(games, plays):
    """Rates of games from Beta(1/2, 1/2), whose mean is 1/2."""
    dice = random.Random(0)
    held = 0
    for _ in range(400):
        chances = [dice.betavariate(0.5, 0.5) for _ in range(games)]
        played = [[dice.random() < chance for _ in range(plays)] for chance in chances]
        rate = sum(map(sum, played)) / (games * plays)
        interval = wilson_interval(rate, effective_count(played))
        held += interval.low <= 0.5 <= interval.high
    assert held / 400 > 0.9


@pytest.mark.parametrize(("won", "k", "expected"), [(0, 2, 0.0), (1, 1, 0.25), (1, 2, 0.5), (2, 2, 5 / 6), (3, 2, 1.0)])
def test_pass_at_k_is_the_share_of_choices_with_a_win(won, k, expected):
    assert pass_at_k(won, 4, k) == pytest.approx(expected)


def test_the_paired_interval_is_the_published_one():
    """Bonett and Price (2012), as the example of `ci.prop.ps` in the R package statpsych has it: 12, 4, 26, 6."""
    _, interval = paired_difference([0] * 18 + [-1] * 4 + [1] * 26)
    assert interval == pytest.approx((0.2548067, 0.6251933), abs=5e-8)


def test_the_paired_difference_itself_is_not_adjusted():
    assert paired_difference([1, 0, 0, -1, 1])[0] == pytest.approx(0.2)


def test_the_paired_interval_stays_within_the_possible():
    assert paired_difference([1.0])[1].high == 1.0


def signs(only_b, only_a):
    return [1] * only_b + [-1] * only_a + [0] * 5


@pytest.mark.parametrize(("only_b", "only_a"), [(0, 0), (1, 0), (3, 3), (7, 1), (2, 12), (40, 21)])
def test_with_one_play_a_game_the_test_is_mcnemar_s(only_b, only_a):
    number, fewer = only_b + only_a, min(only_b, only_a)
    tail = sum(comb(number, i) for i in range(fewer + 1)) / 2**number
    assert exact_p_value(signs(only_b, only_a)) == pytest.approx(min(1.0, 2 * tail), rel=1e-12)


def test_mcnemar_s_exact_p_value_is_the_published_one():
    """Fagerland et al. (2014), Statistics in Medicine 33:2850: hyper-responsiveness, 1 and 7 discordant."""
    assert exact_p_value(signs(1, 7)) == 18 / 256


def test_differences_of_several_plays_are_counted_by_all_choices_of_signs():
    # ±1 ±2 ±3 is 6, 4, 2, 0, 0, -2, -4 or -6: two of eight are as far from 0 as 1 + 2 + 3.
    assert exact_p_value([1, 2, 3]) == 2 / 8
    assert exact_p_value([1, -2, 3]) == 6 / 8
    assert exact_p_value([1, 2, -3]) == 1.0


def test_thousands_of_games_give_a_p_value():
    assert 0 < exact_p_value([1] * 1200 + [-1] * 1000) < 0.0001 < inf
