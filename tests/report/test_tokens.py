"""Tokens of replies, and which carry loss, as training sees them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alfworld_sft.dataset.rows import conversation_of
from alfworld_sft.dataset.show import count_tokens
from alfworld_sft.report.read import read_runs
from alfworld_sft.report.tokens import count, rendering_of
from alfworld_sft.types import Episode
from tests.report.runs import episodes, play
from tests.train.helpers_data import tiny_tokenizer, with_template
from tests.train.templates import STRIPPING

pytest.importorskip("transformers", reason="needs the extra `train`")


@pytest.fixture(scope="module")
def encoder() -> Any:
    from alfworld_sft.models.chat_encoder import ChatEncoder

    return ChatEncoder(tiny_tokenizer())


@pytest.fixture
def collected(tmp_path: Path) -> Path:
    return play(tmp_path, "sft", "num_episodes=2", kind="collect")


def test_a_reply_is_its_tokens_and_a_mistake_has_no_loss(encoder, collected):
    rendering = rendering_of(read_runs([collected])[0])
    assert rendering is not None
    episode = episodes(collected)[0]
    mistaken = _mistaken(episode, 1)
    counted = count(mistaken, rendering, encoder)
    assert counted.replies is not None
    assert [all(token.trained for token in reply) for reply in counted.replies] == [
        turn != 1 for turn in range(len(episode.steps))
    ]
    assert not any(token.trained for token in counted.replies[1])
    said = conversation_of(mistaken, rendering)[1::2]
    for reply, message in zip(counted.replies, said, strict=True):
        assert "".join(token.text for token in reply).startswith(message.content)


def test_replies_are_found_after_a_system_message_where_the_template_rewrites_earlier_turns(tmp_path):
    from alfworld_sft.models.chat_encoder import ChatEncoder

    run = play(tmp_path, "sft", "prompt.template=trinity", "num_episodes=1", kind="collect")
    (episode,) = episodes(run)
    rendering = rendering_of(read_runs([run])[0])
    messages = conversation_of(episode, rendering)
    assert messages[0].role == "system"
    counted = count(episode, rendering, ChatEncoder(with_template(STRIPPING)))
    for reply, message in zip(counted.replies, messages[2::2], strict=True):
        assert "".join(token.text for token in reply).startswith(message.content)


def test_the_length_is_that_of_the_conversation(encoder, collected):
    rendering = rendering_of(read_runs([collected])[0])
    assert rendering is not None
    episode = episodes(collected)[0]
    messages = conversation_of(episode, rendering)
    assert count(episode, rendering, encoder).length == len(encoder.encode_conversation(messages))
    assert count(episode, rendering, None).length == sum(count_tokens(message.content) for message in messages)


def test_an_unknown_template_has_no_tokens(collected):
    (run,) = read_runs([collected])
    config = {**run.stamp["config"], "prompt": {"template": "../../etc/passwd.toml"}}
    assert rendering_of(replace(run, stamp={**run.stamp, "config": config})) is None


def _mistaken(episode: Episode, turn: int) -> Episode:
    steps = list(episode.steps)
    steps[turn] = replace(steps[turn], reply=replace(steps[turn].reply, trained=False))
    return replace(episode, steps=tuple(steps))
