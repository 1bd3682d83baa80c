"""A growing conversation continues exactly what was sampled."""

import asyncio
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="local models are an extra: pip install 'alfworld-sft[train]'")

from alfworld_sft.errors import PolicyError
from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.policies.llm.growing import GrowingModel, TokenSequence, join_turns
from alfworld_sft.types import Message, Reply
from tests.policies.llm.test_protocol import prompt
from tests.train.helpers_data import tiny_tokenizer

FIRST = [Message("user", "Your task?")]


class Parrot:
    """Stands for a model: says what it is told to say, and keeps what it was asked."""

    def __init__(self, said):
        self.encoder = ChatEncoder(tiny_tokenizer())
        self._said = iter(said)

    async def answer(self, asked, player, ids):
        said = next(self._said)
        return Reply("", prompt_token_ids=tuple(ids), token_ids=said, logprobs=(-1.0,) * len(said))


def play(model, messages, **limits):
    player = GrowingModel(model, **{"max_tokens": 4, **limits}).begin(None, 0)
    talk, replies = [], []
    for message in messages:
        talk += [message, Message("assistant", "what a template would render")]
        replies.append(asyncio.run(player.act(replace(prompt(), messages=tuple(talk[:-1])))))
    return replies


@pytest.mark.parametrize("ends", [True, False])
def test_the_next_prompt_continues_the_sampled_tokens_with_one_end_of_turn(ends):
    encoder = ChatEncoder(tiny_tokenizer())
    said = (7, 8, encoder.end_id) if ends else (7, 8)
    replies = play(Parrot([said, (9,)]), [*FIRST, Message("user", "Nothing happens.")])
    start = encoder.encode_prompt(FIRST)
    assert replies[0].prompt_token_ids == tuple(start)
    assert replies[1].prompt_token_ids == (*start, 7, 8, *encoder.encode_follow_up("Nothing happens."))


def test_turns_are_joined_with_what_was_sampled_marked():
    turns = [
        Reply("", prompt_token_ids=(1, 2), token_ids=(3, 4), logprobs=(-0.5, -0.25)),
        Reply("", prompt_token_ids=(1, 2, 3, 4, 5, 6), token_ids=(7,), logprobs=(-2.0,)),
    ]
    joined = TokenSequence([1, 2], [3, 4, 5, 6, 7], [1, 1, 0, 0, 1], [-0.5, -0.25, 0.0, 0.0, -2.0])
    assert join_turns(turns) == join_turns(turns, end_id=7) == joined
    assert join_turns(turns, end_id=9) == TokenSequence(
        [1, 2], [*joined.completion_ids, 9], [*joined.sampled, 0], [*joined.logprobs, 0.0]
    )


def test_a_reply_that_might_not_fit_is_not_begun():
    follow_up = len(ChatEncoder(tiny_tokenizer()).encode_follow_up("Nothing happens."))
    turns = [*FIRST, Message("user", "Nothing happens.")]
    fits = 2 + follow_up + 4
    assert len(play(Parrot([(7, 8), (9,)]), turns, max_completion_tokens=fits)) == 2
    with pytest.raises(PolicyError, match=f"^after {2 + follow_up} tokens there is no room for another reply$"):
        play(Parrot([(7, 8), (9,)]), turns, max_completion_tokens=fits - 1)
