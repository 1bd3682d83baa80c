import pytest

from alfworld_sft.prompts.tags import (
    compose_reply,
    find_sections,
    parse_reply,
    read_sections,
    replace_section,
    strip_empty_thought,
)

ADMISSIBLE = ("go to desk 1", "look", "take mug 1 from desk 1")


def test_a_reply_is_composed_of_the_tags_in_their_order():
    parts = {"think": "why", "prediction": "what", "action": "look"}
    assert compose_reply(("think", "action"), parts) == "<think>why</think>\n<action>look</action>"


def test_without_tags_the_reply_is_the_bare_action():
    assert compose_reply((), {"think": "why", "action": "look"}) == "look"


def test_a_composed_reply_reads_back():
    tags = ("observation", "think", "prediction", "action")
    parts = {"observation": "a desk", "think": "why", "prediction": "You see.", "action": "look"}
    parsed = parse_reply(compose_reply(tags, parts), tags, ADMISSIBLE)
    assert (parsed.observation, parsed.think, parsed.prediction, parsed.action) == ("a desk", "why", "You see.", "look")
    assert parsed.problem is None


@pytest.mark.parametrize(
    ("reply", "action", "problem"),
    [
        ("", None, "empty"),
        ("  \n", None, "empty"),
        ("I would look.", None, "no action tag"),
        ("<action>look", None, "no action tag"),
        ("<action>  </action>", None, "empty action"),
        ("<action>look</action> or <action>go to desk 1</action>", None, "two actions"),
        ("<action>fly</action>", "fly", "not admissible"),
        ("<action>look</action>", "look", None),
        ("<action>\nlook\n</action>", "look", None),
        ("<action>look</action>, that is: <action>look</action>", "look", None),
        ("<action>Go to  Desk 1</action>", "go to desk 1", None),
    ],
)
def test_a_reply_gives_an_action_or_the_reason_why_not(reply, action, problem):
    parsed = parse_reply(reply, ("think", "action"), ADMISSIBLE)
    assert (parsed.action, parsed.problem) == (action, problem)


def test_a_template_without_tags_takes_the_whole_reply():
    assert parse_reply(" look\n", (), ADMISSIBLE).action == "look"
    assert parse_reply("look around", (), ADMISSIBLE).problem == "not admissible"


def test_a_section_is_replaced_word_for_word():
    reply = "<think>a</think>\n<prediction>guess \\1</prediction>\n<action>look</action>"
    assert replace_section(reply, "prediction", r"You see \g<0>.") == (
        "<think>a</think>\n<prediction>You see \\g<0>.</prediction>\n<action>look</action>"
    )


def test_a_missing_section_leaves_the_reply_as_it_is():
    assert replace_section("<action>look</action>", "prediction", "x") == "<action>look</action>"


def test_the_sections_of_a_composed_reply_read_back():
    tags = ("observation", "think", "prediction", "action")
    parts = {"observation": "a desk", "think": "if 1 < 2,\nlook", "prediction": "You see.", "action": "look"}
    assert read_sections(compose_reply(tags, parts), tags) == parts


def test_a_reply_of_other_tags_has_no_sections():
    assert read_sections("<think>why</think>\n<action>look</action>", ("think", "prediction", "action")) is None


def test_many_tags_are_read_as_fast_as_few():
    """A server may send anything; a search that starts anew at each tag would take hours here."""
    assert read_sections("<think></think>" * 200_000, ("think", "prediction", "action")) is None
    assert read_sections("<think>" + "</think><prediction>" * 200_000, ("think", "prediction", "action")) is None


@pytest.mark.parametrize(
    "reply",
    [
        "<think>Maybe <action>look</action>",
        "<think>Maybe <action>look</action> or not.",
        "<think>Maybe <action>look</action></think>",
        "Maybe <action>look</action></think>",
        "<think>It is.</think><prediction>You see. <action>look</action>",
        "<think>It is.</think><prediction><action>look</action></prediction>",
        "<think></think><think>Maybe <action>look</action>",
    ],
)
def test_an_action_inside_another_tag_is_no_action(reply):
    parsed = parse_reply(reply, ("think", "prediction", "action"), ADMISSIBLE)
    assert (parsed.action, parsed.problem) == (None, "no action tag")


@pytest.mark.parametrize(
    ("reply", "think"),
    [
        ("<think>Not <action>go</action>.</think><action>look</action>", "Not <action>go</action>."),
        ("<think>a <think>b</think> c</think><action>look</action>", "a <think>b</think> c"),
        ("Not <action>go to desk 1</action>.\n</think>\n<action>look</action>", "Not <action>go to desk 1</action>."),
        ("<think>\n\n</think>\n\n<think>why</think><action>look</action>", "why"),
        ("<think>\n\n</think>\n\n<action>look</action>", ""),
    ],
)
def test_the_action_is_the_one_after_the_thought(reply, think):
    parsed = parse_reply(reply, ("think", "action"), ADMISSIBLE)
    assert (parsed.action, parsed.problem, parsed.think) == ("look", None, think)


def test_what_a_thought_says_of_other_tags_is_not_read_as_them():
    reply = "<think>First <prediction>x</prediction>.</think><prediction>y</prediction><action>look</action>"
    assert parse_reply(reply, ("think", "prediction", "action"), ADMISSIBLE).prediction == "y"
    assert replace_section(reply, "prediction", "z") == reply.replace("y</p", "z</p")


@pytest.mark.parametrize(
    ("reply", "action", "problem"),
    [
        ("<think>\n\n</think>\n\nlook", "look", None),
        ("<think>why</think>\nlook", "look", None),
        ("\n</think>\n\nlook", "look", None),
        ("<think>look", None, "no action tag"),
        ("<think>\n\n</think>\n\n", None, "empty action"),
    ],
)
def test_without_tags_the_action_is_what_follows_the_thought(reply, action, problem):
    parsed = parse_reply(reply, (), ADMISSIBLE)
    assert (parsed.action, parsed.problem) == (action, problem)


@pytest.mark.parametrize(
    ("reply", "tags", "kept"),
    [
        ("<think>\n\n</think>\n\nlook", (), "look"),
        ("<think></think><action>look</action>", ("action",), "<action>look</action>"),
        ("<think></think><action>look</action>", ("think", "action"), "<think></think><action>look</action>"),
        ("<think></think>\n<think>why</think>", ("think", "action"), "<think>why</think>"),
        ("<think>why</think>look", (), "<think>why</think>look"),
    ],
)
def test_an_empty_thought_that_nobody_asked_for_is_left_out_of_a_conversation(reply, tags, kept):
    assert strip_empty_thought(reply, tags) == kept


@pytest.mark.parametrize(
    ("hostile", "found"), [("<think>", 1), ("</think>", 1), ("<think></think>", 200_000), ("<action><think>", 1)]
)
def test_sections_are_found_in_hostile_replies_in_one_pass(hostile, found):
    """A scanner that goes back would not end before the job is cancelled."""
    assert len(find_sections(hostile * 200_000)) == found
