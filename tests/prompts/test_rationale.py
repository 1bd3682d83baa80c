import pytest

from alfworld_sft.prompts.rationale import REASONS, Rationale, ask_for_reason, read_rationale
from alfworld_sft.types import Message, Prompt
from tests.policies.play import ROOM, view

TAGS = ("think", "action")
PAST = (Message("user", "first"), Message("assistant", "so"), Message("user", "second"))
PROMPT = Prompt(view(now=ROOM), PAST, TAGS, 7)


def test_the_hint_stands_at_the_end_of_the_last_message_alone():
    asked = ask_for_reason(PROMPT, "go to desk 1")
    assert asked.messages[:2] == PAST[:2]
    assert asked.messages[2].content.startswith("second\n\nHint, for this turn only.")
    assert "\ngo to desk 1\n" in asked.messages[2].content
    assert (asked.view, asked.tags, asked.seed) == (PROMPT.view, TAGS, 7)


@pytest.mark.parametrize("rejection", REASONS)
def test_asking_again_says_why_the_last_answer_was_not_taken(rejection):
    again = ask_for_reason(PROMPT, "look", rejection).messages[-1].content
    assert again.startswith(ask_for_reason(PROMPT, "look").messages[-1].content)
    assert again.endswith(f"could not be used: {REASONS[rejection]}.")


def test_a_reply_that_is_as_asked_for_gives_its_reason():
    reply = " <think> Why not. </think><action>look</action>\n"
    assert read_rationale(reply, TAGS, "look") == Rationale("Why not.", None)


@pytest.mark.parametrize(
    ("reply", "rejection"),
    [
        ("", "tags"),
        ("look", "tags"),
        ("<action>look</action>", "tags"),
        ("<think>Why</think>", "tags"),
        ("<think>Why<action>look</action>", "tags"),
        ("<think> </think><action>look</action>", "tags"),
        ("<think>Why</think><action></action>", "tags"),
        ("<action>look</action><think>Why</think>", "tags"),
        ("Sure! <think>Why</think><action>look</action>", "tags"),
        ("<think>Why</think> because <action>look</action>", "tags"),
        ("<think>Why</think><action>look</action> Good luck!", "tags"),
        ("<think>One</think><think>Two</think><action>look</action>", "tags"),
        ("<think>I write <action>look</action></think><action>look</action>", "tags"),
        ("<think>Why</think><prediction>A desk.</prediction><action>look</action>", "tags"),
        ("<think>Why</think><action>Look</action>", "action"),
        ("<think>Why</think><action>inventory</action>", "action"),
        ("<think>Why</think><action>go to desk 1</action>", "action"),
        ("<think>The hint says to look.</think><action>look</action>", "hint"),
        ("<think>HINTED: look.</think><action>look</action>", "hint"),
    ],
)
def test_any_other_reply_is_not_taken_and_says_why(reply, rejection):
    assert read_rationale(reply, TAGS, "look") == Rationale(None, rejection)


def test_words_that_only_begin_alike_give_nothing_away():
    reply = "<think>I look at the hinterland.</think><action>look</action>"
    assert read_rationale(reply, TAGS, "look").rejection is None
