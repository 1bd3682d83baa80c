from collections import Counter

import pytest

from alfworld_sft.games.generator.dice import Choices, Dice


def test_the_draws_of_a_seed_never_change():
    dice = Dice("a seed")
    assert [dice.below(100) for _ in range(8)] == [39, 3, 76, 40, 87, 90, 67, 1]


def test_choices_fall_by_weight():
    choices = Choices([("rare", 1), ("never", 0), ("common", 3)])
    assert [choices.at(share) for share in (0, 0.249, 0.25, 0.999)] == ["rare", "rare", "common", "common"]


def test_weights_can_be_changed():
    choices = Choices([("a", 1), ("b", 3)]).weighed({"a": 1.0, "b": 0.0}.__getitem__)
    assert choices is not None
    assert choices.at(0.999) == "a"


def test_nothing_left_to_choose_from_is_none():
    assert Choices([("a", 1)]).weighed(lambda _: 0) is None


def test_nothing_to_choose_from_is_an_error():
    with pytest.raises(ValueError, match="nothing to choose from"):
        Choices([("never", 0)])


def test_rounding_keeps_the_mean():
    dice = Dice("mean")
    counts = Counter(dice.round(1.25) for _ in range(4000))
    assert set(counts) == {1, 2}
    assert counts[2] / 4000 == pytest.approx(0.25, abs=0.03)


def test_a_shuffle_keeps_everything():
    values = list(range(50))
    Dice("shuffle").shuffle(values)
    assert values != list(range(50))
    assert sorted(values) == list(range(50))
