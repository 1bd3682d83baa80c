"""Trunks and branches: joined, split and laid out. Pure: needs numpy alone."""

from __future__ import annotations

import numpy as np
import pytest

from alfworld_sft.train.data.sample import ALONE, Branch, Leaf, Sample, join, split


def sample(ids: list[int], weight: list[float]) -> Sample:
    return Sample(np.array(ids, np.int32), np.array(weight, np.float32), np.zeros(len(ids), np.uint8), 1, False, "row")


TRUNK = sample([1, 2, 3, 4, 5, 6, 7], [0, 0, 1, 0, 0, 1, 0])
LEAVES = [Leaf(sample([1, 2, 9, 8], [0, 0, 2, 1]), 2), Leaf(sample([1, 2, 3, 4, 5, 3], [0, 0.5, 0, 0, 0, 1]), 5)]
JOINED = join(TRUNK, LEAVES)


def test_a_branch_repeats_the_token_before_it_and_what_it_weighs_before_is_the_trunk_s() -> None:
    assert JOINED.ids.tolist() == [1, 2, 3, 4, 5, 6, 2, 9, 8, 5, 3]
    assert JOINED.weight.tolist() == [0, 0.5, 1, 0, 0, 1, 0, 2, 1, 0, 1]
    assert JOINED.branches == (Branch(1, 3), Branch(4, 2))
    assert JOINED.positions.tolist() == [0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5]
    assert TRUNK.weight.tolist() == [0, 0, 1, 0, 0, 1, 0]


def test_a_reply_that_begins_as_the_trunk_s_does_leaves_where_it_is_said_to() -> None:
    joined = join(TRUNK, [Leaf(sample([1, 2, 3, 4, 8], [0, 0, 1, 1, 1]), 2)])
    assert (joined.trunk, joined.branches) == (6, (Branch(1, 4),))
    assert joined.weight.tolist()[6:] == [0, 1, 1, 1]


@pytest.mark.parametrize("most", [ALONE, 9, 10, 11])
def test_pieces_have_the_sample_s_losses_and_no_more_tokens_than_allowed(most: int) -> None:
    pieces = split(JOINED, most)
    assert all(len(piece) <= max(most, 6) for piece in pieces)
    assert sum(piece.weight.sum() for piece in pieces) == JOINED.weight.sum()
    assert len(pieces) == {11: 1, 10: 2, 9: 2}.get(most, 3)
    if most == ALONE:
        assert [piece.ids.tolist() for piece in pieces] == [[1, 2, 3, 4, 5, 6], [1, 2, 9, 8], [1, 2, 3, 4, 5, 3]]
        assert not any(piece.branches for piece in pieces)


def test_where_one_sequence_is_too_long_anyway_a_trunk_is_not_read_for_each_of_its_branches() -> None:
    """A pass of a large model on a CPU holds fewer tokens than most conversations have."""
    assert [len(piece) for piece in split(JOINED, 4)] == [len(piece) for piece in split(JOINED, 9)] == [6, 9]
    assert [len(piece) for piece in split(JOINED, 6)] == [6, 4, 6], "it fits, so no piece may be longer"


def test_a_sample_without_branches_is_never_split() -> None:
    assert split(TRUNK, ALONE) == [TRUNK]
