"""A conversation asks what `run_episode` asks, and pays what it pays."""

import asyncio

import pytest

from alfworld_sft.errors import UserError
from alfworld_sft.games import find_games
from alfworld_sft.integrations.conversation import Conversation
from alfworld_sft.policies.expert.expert import Expert
from alfworld_sft.prompts.template import load_template, template_names
from alfworld_sft.prompts.transcript import prompts_of
from alfworld_sft.runs.rollout import Protocol, run_episode
from alfworld_sft.world import Game
from alfworld_sft.world.plan import shortest_plan


@pytest.mark.parametrize("template_name", template_names())
def test_messages_and_rewards_are_those_of_our_own_episodes(template_name: str):
    template = load_template(template_name)
    for number, ref in enumerate(find_games("embedded", "valid_seen").refs[:6]):
        game, policy = ref.load(), Expert(noise=0.3)
        episode = asyncio.run(run_episode(game, policy, template, Protocol(12, "multi"), seed=number))
        conversation = Conversation(game, template, 12)
        asked, turns = [], []
        for step in episode.steps:
            asked.append(conversation.message)
            turns.append(conversation.answer(step.reply.text))
        prompts = list(prompts_of(episode, template, "multi"))
        assert asked == [prompt.messages[-1].content for prompt in prompts]
        assert conversation.opening == prompts[0].messages[:-1]
        assert [(t.reward, t.command, t.problem) for t in turns] == [
            (s.reward, s.command, s.problem) for s in episode.steps
        ]
        assert [turn.over for turn in turns] == [False] * (len(turns) - 1) + [True]
        assert turns[-1].terminated is episode.success is not turns[-1].truncated


def test_a_fork_continues_by_itself(kitchen: Game):
    one = Conversation(kitchen, load_template("default"), 50)
    plan = [f"<think>…</think><action>{command}</action>" for command in shortest_plan(kitchen)]
    for reply in plan[:3]:
        one.answer(reply)
    twin, asked = one.fork(), one.message
    assert twin.message == asked
    assert [twin.answer(reply).reward for reply in plan[3:]] == [0, 0, 0, 1]
    assert one.message == asked
    assert one.answer(plan[3]).reward == 0


def test_replies_that_cannot_be_played_are_decided(kitchen: Game):
    conversation = Conversation(kitchen, load_template("default"), 3)
    with pytest.raises(UserError, match=r"^a reply is text, not NoneType$"):
        conversation.answer(None)  # type: ignore[arg-type]
    assert conversation.answer("").problem == "empty"
    assert conversation.answer("look " * 2_000_000).problem == "no action tag"
    last = conversation.answer("<think>…</think><action>fly</action>")
    assert (last.problem, last.command, last.truncated) == ("not admissible", "fly", True)
    with pytest.raises(RuntimeError, match="the episode is over; start another one"):
        conversation.answer("<think>…</think><action>look</action>")
