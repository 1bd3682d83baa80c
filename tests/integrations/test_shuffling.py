"""The order of games is numpy's; the numbers are those of numpy 1.26 and 2.3."""

from itertools import islice

import pytest

from alfworld_sft.integrations.shuffling import LegacyShuffler, shuffled_cycle


def shuffled(seed: int, length: int) -> list[int]:
    items = list(range(length))
    LegacyShuffler(seed).shuffle(items)
    return items


def test_nothing_is_not_repeated_without_end():
    assert list(shuffled_cycle([], LegacyShuffler(0))) == []


@pytest.mark.parametrize("seed", [0, 1, 1000, 1015, 1234, 2**32 - 1])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 140, 3553])
def test_a_list_is_shuffled_as_by_numpy(seed, length):
    numpy = pytest.importorskip("numpy")
    theirs, ours = numpy.random.RandomState(seed), LegacyShuffler(seed)
    a, b = list(range(length)), list(range(length))
    for _ in range(3):
        theirs.shuffle(a)
        ours.shuffle(b)
        assert a == b


def test_the_order_for_a_seed_stays():
    assert shuffled(0, 10) == [2, 8, 4, 9, 1, 6, 7, 3, 0, 5]


def test_a_cycle_begins_as_given_and_then_shuffles():
    assert list(islice(shuffled_cycle([0, 1, 2], LegacyShuffler(0)), 9)) == [0, 1, 2, 2, 1, 0, 0, 2, 1]


def test_a_cycle_can_end():
    assert len(list(shuffled_cycle("ab", LegacyShuffler(0), nb_loops=2))) == 6


def test_a_seed_that_numpy_refuses_is_refused():
    with pytest.raises(ValueError, match="between 0 and 2"):
        LegacyShuffler(-1)
    with pytest.raises(TypeError):
        LegacyShuffler(1.5)


def test_without_a_seed_orders_differ():
    items, other = list(range(50)), list(range(50))
    LegacyShuffler().shuffle(items)
    LegacyShuffler().shuffle(other)
    assert items != other
