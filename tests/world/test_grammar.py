"""The fingerprints: what changes a game's rules or words is refused, what does not is not."""

import random
import re

import pytest

from alfworld_sft.games.generator.logic import domain_text, grammar_text
from alfworld_sft.world.grammar import recognise, split_task
from tests.handmade import older_domain, older_grammar

TASK = "put a mug in desk."
DOMAIN = domain_text()
GRAMMAR = grammar_text(TASK)


def recognised(domain: str = DOMAIN, grammar: str = GRAMMAR) -> bool:
    """Whether a game with these texts would be played."""
    try:
        recognise(domain, split_task(grammar)[0])
    except ValueError:
        return False
    return True


def test_our_texts_follow_the_rules_of_2024():
    variant = recognise(DOMAIN, split_task(GRAMMAR)[0])
    assert (variant.version, variant.has_help, variant.cleaning_types) == ("move", True, {"sinktype", "sinkbasintype"})


def test_our_texts_in_older_words_follow_the_older_rules():
    variant = recognise(older_domain(), split_task(older_grammar(TASK))[0])
    assert (variant.version, variant.has_help, variant.cleaning_types) == ("put", False, {"sinkbasintype"})


def test_older_rules_in_newer_words_have_no_help():
    assert not recognise(older_domain(), split_task(GRAMMAR)[0]).has_help


def test_rules_with_a_help_that_the_words_lack_are_refused():
    with pytest.raises(ValueError, match="its domain has a 'help' action that its grammar has no words for"):
        recognise(DOMAIN, split_task(older_grammar(TASK))[0])


# What counts: every word of every rule.


def words_of(text: str) -> list[tuple[int, int]]:
    """Where each word of the actions stands: names, variables, `and`, `not`, brackets left out."""
    code = re.sub(r";[^\n]*", lambda comment: " " * len(comment[0]), text)
    begin = code.index("(:types")
    predicates = range(code.index("(:predicates"), code.index("(:action"))
    found = re.finditer(r"[^\s()]+", code)
    return [word.span() for word in found if word.start() >= begin and word.start() not in predicates]


def test_a_change_of_any_word_of_the_rules_is_seen():
    unseen = [
        DOMAIN[start - 20 : end + 20]
        for start, end in words_of(DOMAIN)
        if recognised(domain=_spliced(DOMAIN, start, end, "x"))
    ]
    assert len(words_of(DOMAIN)) > 400
    assert unseen == []


def test_leaving_out_any_word_of_the_rules_is_seen():
    unseen = [DOMAIN[a - 20 : b + 20] for a, b in words_of(DOMAIN) if recognised(domain=_spliced(DOMAIN, a, b, ""))]
    assert unseen == []


def test_leaving_out_any_condition_or_effect_is_seen():
    facts = [m.span() for m in re.finditer(r"\([^()]*\)", DOMAIN) if m.start() > DOMAIN.index("(:action")]
    unseen = [DOMAIN[a:b] for a, b in facts if recognised(domain=_spliced(DOMAIN, a, b, ""))]
    assert len(facts) > 90
    assert unseen == []


def test_a_negation_added_to_any_condition_or_effect_is_seen():
    facts = [m for m in re.finditer(r"\((?!:)[a-zA-Z]+ [^()]*\)", DOMAIN) if m.start() > DOMAIN.index("(:action")]
    unseen = [f[0] for f in facts if recognised(domain=_spliced(DOMAIN, *f.span(), f"(not {f[0]})"))]
    assert unseen == []


@pytest.mark.parametrize(
    "addition",
    [
        "(:action fly :parameters (?a - agent) :precondition () :effect (checked ?a))",
        "(:constants knife - object)",
        "(:derived (holds ?a ?o) (checked ?o))",
        "(:types cat)",
    ],
)
def test_more_rules_are_seen(addition: str):
    assert not recognised(domain=DOMAIN.rstrip().removesuffix(")") + addition + ")")


def test_an_action_less_is_seen():
    assert not recognised(domain=re.sub(r"\(:action SliceObject.*?(?=\n\n)", "", DOMAIN, flags=re.DOTALL))


# What counts: every letter that a player could see, and every condition.


def shown_texts(grammar: str) -> list[tuple[int, int]]:
    """Where the templates, sentences and conditions stand."""
    pattern = r'(?:template|feedback) :: "([^"]*)"|"(?:rhs|condition)": "([^"]*)"'
    return [m.span(1) if m[1] is not None else m.span(2) for m in re.finditer(pattern, grammar) if TASK not in m[0]]


def test_a_change_in_any_sentence_template_or_condition_is_seen():
    rng = random.Random(1)
    texts = shown_texts(GRAMMAR)
    places = [(a, rng.randint(a, b)) for a, b in texts for _ in range(4)]
    unseen = [GRAMMAR[a : at + 20] for a, at in places if recognised(grammar=_spliced(GRAMMAR, at, at, "z"))]
    assert len(texts) > 55
    assert unseen == []


def test_a_line_break_or_blank_at_the_end_of_any_sentence_is_seen():
    ends = [m.end() - 1 for m in re.finditer(r'"rhs": "[^"]*"', GRAMMAR) if TASK not in m[0]]
    unseen = [
        GRAMMAR[at - 40 : at]
        for at in ends
        for more in (" ", r"\n")
        if recognised(grammar=_spliced(GRAMMAR, at, at, more))
    ]
    assert unseen == []


def test_leaving_out_any_condition_of_a_sentence_is_seen():
    conditions = [m.span() for m in re.finditer(r'"condition": "[^"]*",', GRAMMAR)]
    unseen = [GRAMMAR[a:b] for a, b in conditions if recognised(grammar=_spliced(GRAMMAR, a, b, ""))]
    assert len(conditions) == 15
    assert unseen == []


def test_an_action_without_words_is_seen():
    names = re.findall(r"^action (\w+)", GRAMMAR, re.MULTILINE)
    seen = [
        n
        for n in names
        if not recognised(grammar=re.sub(rf"action {n} {{.*?^}}", "", GRAMMAR, flags=re.DOTALL | re.MULTILINE))
    ]
    assert len(names) == 15
    assert seen == names


@pytest.mark.parametrize(
    "addition",
    [
        'grammar :: """{"list_empty": [{"rhs": "no thing"}]}""";',
        'grammar :: """{"warmth": [{"rhs": ""}]}""";',
        'action Fly { template :: "fly"; feedback :: "You fly."; grammar :: """{"contents": [{"rhs": "air"}]}"""; }',
        'action LOOK { template :: "look"; feedback :: "You look."; }',
    ],
)
def test_words_that_are_replaced_later_are_seen(addition: str):
    assert not recognised(grammar=GRAMMAR + addition)


@pytest.mark.parametrize(
    "addition",
    [
        'action help { template :: "help"; template :: "help"; feedback :: ""; }',
        'action fly { feedback :: "You fly."; }',
        'action fly { template :: "fly"; feedback :: "You fly."; pddl :: """(:action fly)"""; }',
        'action fly { template :: """fly"""; feedback :: "You fly."; }',
        'grammar :: "{}";',
        'grammar :: """{"a": [{"rhs": 1}]}""";',
        'grammar :: """{"a": [{}]}""";',
        'grammar :: """[]""";',
        'grammar :: """{""";',
        'grammar :: """{}',
        "action",
        "action fly {",
        "import os",
    ],
)
def test_what_the_reference_could_not_read_is_refused(addition: str):
    assert not recognised(grammar=GRAMMAR + addition)


# What does not count.


def test_spacing_and_comments_in_the_rules_do_not_count():
    bare = re.sub(r";.*", "", DOMAIN)
    assert recognised(domain=bare.replace("(", "\n  ( ").replace(")", " )\t; a comment (of ours\n"))


def test_case_in_the_rules_does_not_count():
    assert recognised(domain=DOMAIN.upper())


def test_costs_do_not_count():
    costly = DOMAIN.replace(":effect (and", ":effect (and (increase (total-cost) 5)")
    assert recognised(domain=costly.replace("(:predicates", "(:functions (total-cost) - number) (:predicates"))


def test_spacing_comments_and_unused_words_do_not_count():
    fields = 'template :: "fly"; feedback :: "#fly#"; grammar :: """\n# a comment\n{"fly": []}""";'
    more = f"\n# a comment\naction Fly {{ {fields} }}\n"
    assert recognised(grammar=GRAMMAR.replace("::", "  ::\n") + more)


def test_weights_do_not_count():
    assert recognised(grammar=GRAMMAR.replace('{"rhs": "nothing"}', '{"rhs": "nothing", "weight": 3}'))


# The task sentence.


def test_the_task_is_split_from_the_grammar():
    blanked, task = split_task(GRAMMAR)
    assert task == TASK
    assert TASK not in blanked
    assert recognise(DOMAIN, blanked) == recognise(
        DOMAIN, split_task(grammar_text("look at bowl under the desklamp."))[0]
    )


@pytest.mark.parametrize(
    "task",
    [
        "{__import__('os').system('touch hacked')}",
        "[{o.name | holds(a:agent, o:object)}]",
        "#look.feedback#",
        "put a; b",
        "put a | b",
        "put a <b>",
        'put a "mug"',
        "put a \\n mug",
        "put a\nmug",
        "put a\x00mug",
        " put a mug",
        "put a mug ",
        "",
        "x" * 301,
        "put a \ud800",
    ],
)
def test_a_task_that_the_reference_would_not_print_as_it_stands_is_refused(task: str):
    with pytest.raises(ValueError, match="task"):
        split_task(GRAMMAR.replace(TASK, task))


@pytest.mark.parametrize("task", ["put a mug in desk.", "Cool the mug's “rim” to 4 °C, & (then) rest!", "//", "日本"])
def test_any_plain_sentence_can_be_a_task(task: str):
    assert split_task(grammar_text(task))[1] == task


def test_a_task_in_a_comment_is_not_taken_for_the_one_that_is_told():
    told = "# " + '"task": [{"rhs": "Your task is to: rest."}]\n' + GRAMMAR.replace(TASK, "<THE TASK>")
    assert not recognised(grammar=told)


def test_a_text_that_is_too_long_is_refused_before_it_is_read():
    with pytest.raises(ValueError, match=r"its domain has 1[0-9]+ characters; known ones have at most 200000"):
        recognise(DOMAIN + " " * 1_000_000, GRAMMAR)


def _spliced(text: str, start: int, end: int, middle: str) -> str:
    return text[:start] + middle + text[end:]
