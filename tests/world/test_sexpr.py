import pytest

from alfworld_sft.world.sexpr import MAX_DEPTH, parse_sexpr


def test_nested_lists_become_nested_tuples_of_lower_case_tokens():
    assert parse_sexpr("(And (holds ?A ?o) ()) x") == (("and", ("holds", "?a", "?o"), ()), "x")


def test_spacing_does_not_count():
    assert parse_sexpr("(a(b)c)") == parse_sexpr("\n( a\t( b )\r\nc ) ")


def test_a_comment_ends_with_its_line():
    assert parse_sexpr("(a ; (b\n c)") == (("a", "c"),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(a", "an opening bracket is never closed"),
        ("(a))", "a closing bracket has no opening one"),
        ("(a \u212a)", "it has characters that are not ASCII"),
        ("(" * (MAX_DEPTH + 1) + ")" * (MAX_DEPTH + 1), "brackets nest deeper than 64"),
    ],
)
def test_what_is_no_pddl_is_refused(text: str, reason: str):
    with pytest.raises(ValueError, match=f"^{reason}$"):
        parse_sexpr(text)


def test_a_comment_may_have_any_letters():
    assert parse_sexpr("(a) ; Ω") == (("a",),)


def test_brackets_may_nest_to_the_limit():
    assert parse_sexpr("(" * MAX_DEPTH + ")" * MAX_DEPTH)
