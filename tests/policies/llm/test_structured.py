"""A server restricts the action by whichever parameter it knows; one that knows none is refused in one line."""

import re
from dataclasses import replace

import pytest

from alfworld_sft.errors import PolicyUnavailableError
from alfworld_sft.policies.llm.structured import keeps_to, reply_pattern, until_action
from tests.fake_server import fails, gives, says, serving
from tests.policies.llm.test_protocol import prompt
from tests.policies.llm.test_server import ask, server

COMMANDS = ("go to desk 1", "look", "put mug 1 in/on desk 1", "what? (1.5) [a|b]")
ASKED = replace(prompt(), admissible_commands=COMMANDS)
BARE = replace(prompt(tags=()), admissible_commands=COMMANDS)

pytestmark = pytest.mark.usefixtures("openai_key")


def knows(*names, refuses):
    """Answer as a server that restricts replies by these parameters, and refuses others or ignores them."""

    def answer(request, _):
        [name] = {"structured_outputs", "guided_regex", "regex"} & request.keys()
        if name in names:
            return says("<think>I go.</think>\n<action>go to desk 1</action>")
        return refuses(name)

    return answer


def refuses_it(name):
    return fails(400, f"unknown parameter: '{name}'")


def ignores_it(_):
    return says("<think>I go.</think>\n<action>go to the moon</action>")


@pytest.mark.parametrize("refuses", [refuses_it, ignores_it])
@pytest.mark.parametrize("name", ["structured_outputs", "guided_regex", "regex"])
def test_the_first_parameter_that_the_server_knows_restricts_every_reply(name, refuses):
    with serving(knows(name, refuses=refuses)) as fake:
        policy = server(fake.url, constrain=True)
        replies = ask(policy, ASKED, ASKED)
    assert [reply.text for reply in replies] == ["<think>I go.</think>\n<action>go to desk 1</action>"] * 2
    assert [reply.constrained_from for reply in replies] == [0, 0]
    pattern = reply_pattern(ASKED)
    assert fake.requests[-1][name] == ({"regex": pattern} if name == "structured_outputs" else pattern)
    assert fake.requests[-2].keys() == fake.requests[-1].keys(), "what was found out is known at the next turn"
    assert "not_sent" not in policy.sampling


@pytest.mark.parametrize("refuses", [refuses_it, ignores_it])
def test_a_server_without_structured_outputs_is_refused_in_one_line(refuses):
    with serving(knows(refuses=refuses)) as fake:
        [error] = ask(server(fake.url, constrain=True), ASKED)
    assert isinstance(error, PolicyUnavailableError)
    assert re.fullmatch(
        r"policy\.constrain=action: the server at \S+ refuses or ignores structured_outputs, guided_regex, regex.*;"
        r" serve the model with vLLM or SGLang, play it with policy\.name=local, or leave out policy\.constrain",
        str(error),
    )
    assert len(fake.requests) == (3 if refuses is refuses_it else 6), "an accident would not happen twice"


def test_one_odd_reply_does_not_give_the_restriction_up():
    good = says("<think>I go.</think>\n<action>go to desk 1</action>")
    with serving([good, ignores_it(""), good]) as fake:
        replies = ask(server(fake.url, constrain=True), ASKED, ASKED)
    assert [reply.text for reply in replies] == ["<think>I go.</think>\n<action>go to desk 1</action>"] * 2
    assert all("structured_outputs" in request for request in fake.requests)
    assert fake.requests[1]["seed"] != fake.requests[2]["seed"], "the same draw would be as odd"


def test_a_reply_that_the_server_broke_off_is_asked_for_again():
    with serving([says("<think>I", finish="abort"), says("<action>look</action>")]) as fake:
        [reply] = ask(server(fake.url), ASKED)
    assert reply.text == "<action>look</action>"


@pytest.mark.parametrize("thought", ["", "<think>so I look</think>\n\n", "so I look</think>\n\n"])
def test_a_bare_action_may_follow_a_thought_that_the_prompt_opened(thought):
    assert re.fullmatch(reply_pattern(BARE), f"{thought}look")


def test_a_free_request_restricts_nothing():
    with serving([says()]) as fake:
        [reply] = ask(server(fake.url), ASKED)
    assert not {"structured_outputs", "guided_regex", "regex"} & fake.requests[0].keys()
    assert reply.constrained_from is None


def test_a_reply_that_was_cut_off_says_nothing_of_the_server():
    with serving([says("<think>I", finish="length"), says("<action>look</action>")]) as fake:
        [reply] = ask(server(fake.url, constrain=True), ASKED)
    assert reply.text == "<action>look</action>"
    assert {"structured_outputs"} <= fake.requests[1].keys()


@pytest.mark.parametrize("truncated", ["keep", "retry"])
@pytest.mark.parametrize("answered", ["look</action>", "look"])
def test_a_reply_that_was_cut_off_is_continued_with_an_action(answered, truncated):
    with serving([says("<think>I", finish="length"), says(answered)]) as fake:
        [reply] = ask(server(fake.url, constrain=True, truncated=truncated), ASKED)
    assert reply.text == "<think>I</think>\n<action>look</action>"
    assert (reply.prompt_tokens, reply.reply_tokens, reply.token_ids) == (200, 40, None)
    first, second = fake.requests
    assert second["messages"] == [
        *first["messages"],
        {"role": "assistant", "content": "<think>I</think>\n<action>"},
    ]
    assert second["continue_final_message"]
    assert not second["add_generation_prompt"]
    assert re.fullmatch(second["structured_outputs"]["regex"], "look</action>")


def test_a_bare_action_that_was_cut_off_is_asked_for_again_with_room():
    with serving([says("put mug 1", finish="length"), says("put mug 1 in/on desk 1")]) as fake:
        [reply] = ask(server(fake.url, constrain=True), BARE)
    assert reply.text == "put mug 1 in/on desk 1"
    first, second = fake.requests
    assert second["messages"] == first["messages"]
    assert second["max_tokens"] > len("put mug 1 in/on desk 1")


def test_a_server_that_continues_no_reply_leaves_it_cut_off(caplog):
    def answer(request, _):
        refused = "continue_final_message" in request
        return fails(400, "Extra inputs are not permitted") if refused else says("<think>I", finish="length")

    with serving(answer) as fake:
        replies = ask(server(fake.url, constrain=True, truncated="keep"), ASKED, ASKED)
    assert [reply.text for reply in replies] == ["<think>I"] * 2
    assert caplog.text.count("was cut off before its action was not continued: the server at") == 1


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (says(""), "without one of the commands"),
        (says(None), "holds no text"),
        (says("<think>I"), "without one of the"),
    ],
)
def test_a_continuation_without_a_command_leaves_the_reply_cut_off(second, why, caplog):
    with serving([says("<think>I", finish="length"), second]) as fake:
        [reply] = ask(server(fake.url, constrain=True, truncated="keep"), ASKED)
    assert reply.text == "<think>I"
    assert len(fake.requests) == 2
    assert "was cut off before its action was not continued: " in caplog.text
    assert why in caplog.text


@pytest.mark.parametrize("content", [None, "<action>lo"])
def test_a_reply_cut_off_after_reasoning_that_the_server_keeps_apart_is_said_once(content, caplog):
    cut = gives({"content": content, "reasoning_content": "I think."}, "length")
    with serving([cut]) as fake:
        replies = ask(server(fake.url, constrain=True, truncated="keep"), ASKED, ASKED)
    assert len(fake.requests) == 2
    assert all("look" not in reply.text for reply in replies)
    reason = "the server keeps the model's reasoning apart; raise policy.max_tokens"
    assert caplog.messages.count(f"a reply that was cut off before its action was not continued: {reason}") == 1


@pytest.mark.parametrize(
    ("text", "tags", "begun"),
    [
        ("", ("think", "action"), "<action>"),
        ("<think>a", ("think", "action"), "<think>a</think>\n<action>"),
        ("<think>a</think>", ("think", "action"), "<think>a</think>\n<action>"),
        ("<think>a</think>\n<action>go to d", ("think", "action"), "<think>a</think>\n<action>"),
        ("go to d", (), ""),
        ("<think>a", (), "<think>a</think>\n\n"),
        ("<think>a</think>\n\ngo to d", (), "<think>a</think>"),
    ],
)
def test_a_cut_off_reply_is_continued_from_where_its_action_begins(text, tags, begun):
    assert until_action(text, tags) == begun


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        *((ASKED, f"<think>a > b.\nSo:</think>\n<action>{command}</action>") for command in COMMANDS),
        (ASKED, "so I go <prediction>a desk</prediction> <action>look</action>"),
        (ASKED, "the prompt began this</think>\n<action>look</action>"),
        (ASKED, "<action>\n\nlook</action>"),
        *((BARE, command) for command in COMMANDS),
        (BARE, "<think>\n\n</think>\n\nlook"),
    ],
)
def test_the_pattern_matches_what_can_be_played(asked, text):
    assert re.fullmatch(reply_pattern(asked), text)
    assert keeps_to(text, asked)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (ASKED, "<action>go to desk 12</action>"),
        (ASKED, "<action>whatX (1.5) [a|b]</action>"),
        (ASKED, "<think>not yet <action>look</action>"),
        (ASKED, "<action>fly</action> <action>look</action>"),
        (ASKED, "look"),
        (BARE, "look around"),
        (BARE, "<think>look"),
    ],
)
def test_the_pattern_matches_nothing_else(asked, text):
    assert not re.fullmatch(reply_pattern(asked), text)
    assert not keeps_to(text, asked)
