import pytest

from alfworld_sft.policies.llm.reasoning import read_message, with_reasoning

TAGS = ("think", "action")
ACTION = "<action>look</action>"


@pytest.mark.parametrize(
    ("message", "content", "reasoning"),
    [
        ({"content": "x"}, "x", ""),
        ({"content": "x", "reasoning_content": "so"}, "x", "so"),
        ({"content": "x", "reasoning": "so", "reasoning_details": [{"type": "reasoning.text"}]}, "x", "so"),
        ({"content": "x", "reasoning": "so", "reasoning_content": "so"}, "x", "so"),
        ({"content": "x", "thinking": "so"}, "x", "so"),
        ({"content": "x", "reasoning_content": None}, "x", ""),
        ({"content": None, "reasoning_content": "so"}, None, "so"),
        ({"content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}, "xy", ""),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "so"}]},
                    {"type": "text", "text": "x"},
                ]
            },
            "x",
            "so",
        ),
        (
            {"content": [{"type": "thinking", "thinking": "so", "signature": "s"}, {"type": "text", "text": "x"}]},
            "x",
            "so",
        ),
        ({"content": [{"type": "reasoning", "text": "so"}, "x"]}, "x", "so"),
        ({"content": None, "refusal": "I cannot"}, "I cannot", ""),
        ({}, None, ""),
    ],
)
def test_text_and_reasoning_are_found_in_whatever_field_they_come(message, content, reasoning):
    assert read_message(message) == (content, reasoning)


@pytest.mark.parametrize(
    ("text", "reasoning", "tags", "expected"),
    [
        (ACTION, "", TAGS, (ACTION, None)),
        (ACTION, " so\n", TAGS, (f"<think>so</think>\n{ACTION}", None)),
        (f"\n\n{ACTION}", "so", TAGS, (f"<think>so</think>\n{ACTION}", None)),
        (f"<think>a</think>{ACTION}", "so", TAGS, (f"<think>a</think>{ACTION}", "so")),
        (f"a</think>{ACTION}", "so", TAGS, (f"a</think>{ACTION}", "so")),
        ("look", "so", (), ("look", "so")),
        (ACTION, "<action>go</action>?", TAGS, (f"<think>go?</think>\n{ACTION}", "<action>go</action>?")),
    ],
)
def test_reasoning_goes_into_think_where_that_is_asked_for_and_missing_and_else_beside_it(
    text, reasoning, tags, expected
):
    assert with_reasoning(text, reasoning, tags) == expected


def test_a_thought_that_was_cut_off_is_not_closed():
    assert with_reasoning("", "and so", TAGS, ended=False) == ("<think>and so", None)
