import pytest

from alfworld_sft.counts import counted, noun_for, size_in_words


def test_one_thing_is_no_plural():
    assert [counted(number, "episode") for number in (0, 1, 2)] == ["0 episodes", "1 episode", "2 episodes"]
    assert [counted(number, "reply", "replies") for number in (1, 2)] == ["1 reply", "2 replies"]
    assert noun_for(1, "is", "are") == "is"


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 KiB"),
        (20_480, "20.0 KiB"),
        (1_048_575, "1.0 MiB"),
        (5 * 2**30, "5.0 GiB"),
        (2**60, "1048576.0 TiB"),
    ],
)
def test_a_size_has_the_unit_that_shows_it(size, words):
    assert size_in_words(size) == words
