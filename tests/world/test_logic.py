"""Our own domain and grammar texts. That the reference plays by them like us is tested with the reference itself."""

import pytest

from alfworld_sft.world.logic import domain_text, grammar_text


def test_the_task_is_all_that_differs_between_games():
    one, other = grammar_text("put a mug in desk."), grammar_text("clean some egg.")
    assert one.replace("put a mug in desk.", "") == other.replace("clean some egg.", "")


@pytest.mark.parametrize("task", ["", "{1 + 1}", 'say "mug"', "one\ntwo"])
def test_a_task_that_the_reference_would_not_print_as_it_stands_is_refused(task: str):
    with pytest.raises(ValueError, match="task"):
        grammar_text(task)


def test_the_domain_is_one_expression_with_fifteen_actions():
    assert domain_text().count("(:action ") == 15
