"""The published shapes are read: where the game begins, what is thought and done, which replies carry loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alfworld_sft.errors import DatasetError
from alfworld_sft.foreign.read import _records, find_action, find_thought, read_conversation

ROOM = "You are in the middle of a room. Looking quickly around you, you see a desk 1, and a mug 1."


def said(*texts: str, **more: Any) -> dict[str, Any]:
    """A record whose messages alternate, the first one the human's."""
    roles = ("human", "gpt")
    return {"conversations": [{"from": roles[n % 2], "value": text} for n, text in enumerate(texts)], **more}


@pytest.mark.parametrize(
    ("reply", "action"),
    [
        ("ACTION: look", "look"),
        ("Thought: the action: is hard.\nAction:\ngo to desk 1.\nmore", "go to desk 1"),
        ("<think>action: x</think><action>look</action>", "look"),
        ("OK.", None),
        ("Action:", None),
    ],
)
def test_the_action_of_a_reply(reply: str, action: str | None) -> None:
    assert find_action(reply) == action


@pytest.mark.parametrize("reply", ["put mug 1 in/on desk 1", " Go to desk 1\n", "inventory"])
def test_a_reply_that_is_nothing_but_a_command_is_an_action(reply: str) -> None:
    assert find_action(reply) == reply.strip()


@pytest.mark.parametrize(
    ("reply", "thought"),
    [
        ("THOUGHT: I go on.\n ACTION: look", "I go on."),
        ("ACTION: look", ""),
        ("Thought:\nOne.\nTwo.\n\nAction:\nlook", "One.\nTwo."),
        ("<think>Why.</think><action>look</action>", "Why."),
        ("OK", ""),
    ],
)
def test_the_thought_of_a_reply(reply: str, thought: str) -> None:
    assert find_thought(reply) == thought


def test_a_game_begins_after_the_examples_and_at_the_first_message_that_shows_it() -> None:
    example, own = f"{ROOM}\nYour task is to: put a pen in desk.", f"{ROOM}\nYour task is to: put a mug in desk."
    read = read_conversation(said(example, "Action: look", own, "Action: inventory", own, "Action: go to desk 1"), "x")
    assert (read.task, [turn.position for turn in read.turns]) == ("put a mug in desk.", [3, 5])
    assert [turn.action for turn in read.turns] == ["inventory", "go to desk 1"]
    assert len(read.messages) == 6


def test_a_record_that_names_its_game_need_not_show_it() -> None:
    read = read_conversation(said("Begin.", "look", game_id="a/b"), "x")
    assert (read.task, read.game, [turn.action for turn in read.turns]) == ("", "a/b", ["look"])
    with pytest.raises(DatasetError, match=r"^x: no message shows a room and says 'Your task is to:'$"):
        read_conversation(said("Begin.", "look"), "x")


@pytest.mark.parametrize(
    ("more", "success"),
    [
        ({}, None),
        ({"success": True}, True),
        ({"reward": 0.0}, False),
        ({"reward": 10**400}, True),
        ({"success": "x"}, None),
    ],
)
def test_what_a_record_claims(more: dict[str, Any], success: bool | None) -> None:
    assert read_conversation(said("Begin.", "look", game_id="a/b", **more), "x").success is success


def test_loss_flags_are_honoured() -> None:
    record = said(f"{ROOM}\nYour task is to: put a mug in desk.", "Action: look", "You see.", "Action: look")
    record["conversations"][0]["loss"] = None
    record["conversations"][1]["loss"] = False
    record["conversations"][3]["loss"] = True
    assert [turn.trained for turn in read_conversation(record, "x").turns] == [False, True]


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({"from": "tool", "value": "x"}, "unknown role 'tool'; there are human, gpt, system, user, assistant"),
        ({"from": "gpt", "value": 7}, "it needs 'from' and 'value', both text"),
        ({"from": "gpt", "value": "x", "loss": "perhaps"}, "'loss' is 'perhaps'; it must be 1"),
        ({"from": "gpt", "value": "x", "tool_calls": [1]}, "'tool_calls' is not read"),
    ],
)
def test_a_message_that_cannot_be_read_is_named(message: dict[str, Any], problem: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read_conversation({"conversations": [{"from": "human", "value": "x"}, message]}, "f.json record 3")
    assert str(caught.value).startswith(f"f.json record 3, message 1: {problem}")


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_a_line_of_json_may_hold_what_unicode_calls_the_end_of_a_line(tmp_path: Path, separator: str) -> None:
    file = tmp_path / "records.jsonl"
    records = [{"text": f"one{separator}two"}, {"text": "three"}]
    file.write_text("".join(json.dumps(one, ensure_ascii=False) + "\r\n" for one in records), "utf-8")
    assert list(_records(file)) == records


def test_text_that_no_file_can_hold_is_replaced() -> None:
    read = read_conversation(said(f"{ROOM}\nYour task is to: put a mug in desk.", "Action: \ud800look"), "x")
    assert read.messages[1].content == "Action: ?look"
