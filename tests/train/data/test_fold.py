"""Which rows fold into one conversation, and what each turn weighs then. Pure: needs no torch."""

from __future__ import annotations

from alfworld_sft.train.data.fold import Chain, Part, TurnWeights, add_to_chains, fold, graft_chains, weights_by_row
from tests.train.helpers_data import conversation


def parts(*turns: int, untrained: tuple[int, ...] = ()) -> list[Part]:
    return [Part(f"row {t}", 2 * t, t, frozenset(u for u in untrained if u < t)) for t in turns]


def trained(rows: list[Part], weighting: str) -> tuple[float, ...]:
    return fold(weights_by_row(rows, weighting)).trained  # type: ignore[arg-type]


def test_cumulative_weighs_a_turn_by_the_rows_that_contain_it() -> None:
    assert trained(parts(1, 2, 3, 4), "cumulative") == (4, 3, 2, 1)


def test_uniform_weighs_every_turn_once() -> None:
    assert trained(parts(1, 2, 3, 4), "uniform") == (1, 1, 1, 1)


def test_rows_that_a_user_filtered_away_do_not_count() -> None:
    assert trained(parts(2, 4), "cumulative") == (2, 2, 1, 1)
    assert trained(parts(2, 4), "uniform") == (1, 1, 1, 1)


def test_a_row_that_occurs_twice_counts_twice_only_if_cumulative() -> None:
    assert trained(parts(1, 2, 2), "cumulative") == (3, 2)
    assert trained(parts(1, 2, 2), "uniform") == (1, 1)


def test_untrained_turns_weigh_nothing_but_hold_what_was_seen_before_them() -> None:
    rows = parts(1, 3, 4, untrained=(1,))
    assert fold(weights_by_row(rows, "cumulative")) == TurnWeights((3, 0, 2, 1), (3, 2, 2, 1))
    assert fold(weights_by_row(rows, "uniform")) == TurnWeights((1, 0, 1, 1), (1, 1, 1, 1))


def test_row_by_row_uniform_trains_only_what_no_shorter_row_has() -> None:
    assert [w.trained for w in weights_by_row(parts(1, 3), "uniform")] == [(1,), (0, 1, 1)]


def chains_of(*rows: tuple[str, ...]) -> list[Chain]:
    chains: list[Chain] = []
    for row in rows:
        said = conversation(*row)
        add_to_chains(chains, said, Part("", len(said), len(said) // 2, frozenset()))
    return chains


def test_rows_in_any_order_make_one_chain_of_the_longest_conversation() -> None:
    (chain,) = chains_of(("a", "b", "c", "d"), ("a", "b"), ("a", "b", "c", "d", "e", "f"))
    assert chain.messages == conversation("a", "b", "c", "d", "e", "f")
    assert [part.turns for part in chain.parts] == [1, 2, 3]


def test_a_row_that_is_no_prefix_is_a_chain_of_its_own() -> None:
    chains = chains_of(("a", "b"), ("a", "x", "c", "d"), ("a", "b", "c", "d"))
    assert [[part.turns for part in chain.parts] for chain in chains] == [[1, 2], [2]]


def test_a_row_with_another_last_reply_is_a_branch_of_the_conversation() -> None:
    chains = chains_of(("a", "x"), ("a", "b", "c", "d"), ("a", "b", "c", "y"), ("a", "b", "c", "d", "e", "f"))
    (trunk,) = graft_chains(chains)
    assert trunk.messages == conversation("a", "b", "c", "d", "e", "f")
    assert [(part.turns, part.branch and part.branch.content) for part in trunk.parts] == [
        (1, "x"), (2, None), (2, "y"), (3, None),
    ]  # fmt: skip


def test_rows_of_one_length_that_answer_differently_are_branches_and_other_contexts_are_not() -> None:
    chains = chains_of(("a", "b"), ("a", "x"), ("q", "b"))
    assert [[part.branch for part in chain.parts] for chain in graft_chains(chains)] == [
        [None, conversation("a", "x")[1]], [None],
    ]  # fmt: skip


def test_a_branch_s_reply_is_trained_and_what_precedes_it_counts_once() -> None:
    (chain,) = graft_chains(chains_of(("a", "x"), ("a", "b", "c", "y"), ("a", "b", "c", "d", "e", "f")))
    uniform = weights_by_row(chain.parts, "uniform")
    assert [row.trained for row in uniform] == [(1,), (1, 1), (0, 1, 1)]
    assert [row.held for row in uniform] == [(1,), (0, 1), (0, 0, 1)]
    assert [row.trained for row in weights_by_row(chain.parts, "cumulative")] == [(1,), (1, 1), (1, 1, 1)]


def test_equal_replies_at_different_turns_are_different_branches() -> None:
    (chain,) = graft_chains(chains_of(("a", "x"), ("a", "b", "c", "x"), ("a", "b", "c", "d", "e", "f")))
    assert [row.trained[-1] for row in weights_by_row(chain.parts, "uniform")] == [1, 1, 1]


def test_texts_that_rows_have_in_common_are_held_once() -> None:
    first, second = chains_of(("a", "x"), ("a", "b", "c", "d"))
    assert second.messages[0] is first.messages[0]
