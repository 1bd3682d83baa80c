"""Messages of other programs' files: flags decide what is trained, and no key is left out in silence."""

from __future__ import annotations

from typing import Any

import pytest

from alfworld_sft.dataset.messages import FLAGS, parse_message
from alfworld_sft.errors import DatasetError
from alfworld_sft.types import Message

NAN = float("nan")


def reply(**keys: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "look", **keys}


def error_of(item: object) -> str:
    with pytest.raises(DatasetError) as caught:
        parse_message(item, "x.jsonl row 0, message 1")
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix("x.jsonl row 0, message 1: ")


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_that_says_no_keeps_a_reply_as_context(flag: str) -> None:
    for no in (0, 0.0, False, "0", "false", "False"):
        assert not parse_message(reply(**{flag: no}), "").trained
    for yes in (1, 1.0, True, "1", "true"):
        assert parse_message(reply(**{flag: yes}), "").trained
    for nothing in (None, NAN, ""):
        assert parse_message(reply(**{flag: nothing}), "").trained


def test_a_flag_between_no_and_yes_is_refused() -> None:
    assert error_of(reply(weight=0.5)) == "'weight' is 0.5; it must be 1 (trained) or 0 (context without loss)"
    assert error_of(reply(loss_mask=[0, 1])) == (
        "'loss_mask' is [0, 1]; it must be 1 (trained) or 0 (context without loss)"
    )


def test_flags_that_differ_are_refused() -> None:
    assert error_of(reply(weight=1, train=False)) == (
        "'weight': 1 and 'train': False contradict each other; keep one of them"
    )


def test_a_flag_that_asks_for_another_role_to_be_trained_is_named() -> None:
    read = parse_message({"role": "user", "content": "go", "train": True}, "")
    assert read.notes == ("'train' of a user message has no effect: only replies are trained",)
    assert parse_message({"role": "user", "content": "go", "train": False}, "").notes == ()


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_beside_the_content_becomes_its_think(key: str) -> None:
    read = parse_message(reply(**{key: "A mug.\n"}), "")
    assert read.message == Message("assistant", "<think>A mug.</think>\nlook")
    assert read.notes == (f"'{key}' is read as <think>…</think> before the reply",)


def test_reasoning_that_the_content_holds_already_is_not_repeated() -> None:
    for content in ("A mug.</think>\nlook", "<think>A mug.</think>\nlook"):
        assert parse_message(reply(content=content, reasoning_content="A mug."), "").message.content == content
    assert error_of(reply(content=content, reasoning_content="A cup.")) == (
        "'reasoning_content' and the <think> of the content differ; keep one of them"
    )
    assert error_of(reply(reasoning_content="A cup.", thinking="A mug.")) == (
        "'reasoning_content' and 'thinking' differ; keep one of them"
    )
    assert error_of(reply(reasoning=["A cup."])) == "'reasoning' is ['A cup.'], not text"


@pytest.mark.parametrize("key", ["tool_calls", "function_call"])
def test_calls_are_refused(key: str) -> None:
    assert error_of(reply(content="", **{key: [{"name": "look"}]})) == (
        f"'{key}' is not read; write the call into the content, as text, or drop the row"
    )
    assert parse_message(reply(**{key: None}), "").notes == ()
    assert parse_message(reply(**{key: []}), "").notes == ()


def test_other_keys_are_named_where_they_say_something() -> None:
    read = parse_message(reply(name="agent", training_detail=[{"begin": 0}], id=None), "")
    assert read.notes == (
        "the key 'name' of a message is not read",
        "the key 'training_detail' of a message is not read",
    )
    assert parse_message({"role": "user", "content": "go", "reasoning": "x"}, "").notes == (
        "the key 'reasoning' of a message is not read",
    )
