import asyncio
from dataclasses import dataclass, field, replace

import pytest

from alfworld_sft.errors import PolicyError
from alfworld_sft.games import find_games
from alfworld_sft.policies.planner import Planner
from alfworld_sft.policies.teacher import Taught
from alfworld_sft.prompts.template import load_template
from alfworld_sft.prompts.transcript import prompts_of
from alfworld_sft.runs.records import from_line, to_line
from alfworld_sft.runs.rollout import Protocol, run_episode, runs_in_circle
from alfworld_sft.types import Prompt, Reply
from tests.episodes import step
from tests.handmade import Furniture, make_game

GAME = make_game(
    "pick_and_place_simple",
    "mug",
    "desk",
    [Furniture("desk 1", 1), Furniture("shelf 1", 2, ("mug 1",))],
    task="put a mug in desk.",
)
WINNING = ("go to shelf 1", "take mug 1 from shelf 1", "go to desk 1", "move mug 1 to desk 1")


@dataclass
class Says:
    """A policy that gives the same replies in turn, and remembers what it was asked."""

    replies: tuple[str, ...]
    asked: list[Prompt] = field(default_factory=list)
    name = "says"

    def begin(self, game, seed):
        return self

    async def act(self, prompt):
        self.asked.append(prompt)
        if len(self.asked) > len(self.replies):
            raise PolicyError("nothing left to say")
        return Reply(self.replies[len(self.asked) - 1])


def play(*replies: str, template: str = "default", **protocol):
    policy = Says(replies)
    return asyncio.run(run_episode(GAME, policy, load_template(template), Protocol(**protocol), seed=5)), policy


def tagged(*commands: str) -> tuple[str, ...]:
    return tuple(f"<think>so</think><action>{command}</action>" for command in commands)


def test_a_won_game_ends_at_once_and_its_last_step_is_rewarded():
    episode, _ = play(*tagged(*WINNING, "look"))
    assert episode.success
    assert [step.command for step in episode.steps] == list(WINNING)
    assert [step.reward for step in episode.steps] == [0.0, 0.0, 0.0, 1.0]


def test_the_step_limit_ends_a_game():
    episode, _ = play(*tagged("look", "look", "look", "look"), max_steps=3)
    assert (episode.success, len(episode.steps), episode.error) == (False, 3, None)


def test_an_episode_that_runs_in_a_circle_ends_when_it_is_told_to():
    around = tagged("go to desk 1", "go to shelf 1") * 5
    stopped, _ = play(*around, max_steps=10, max_repeats=3)
    assert (len(stopped.steps), stopped.success, stopped.error) == (5, False, None)
    assert len(play(*around, max_steps=10)[0].steps) == 10, "it goes on where it is not told to end"


def test_the_winning_step_wins_whatever_repeats_itself():
    episode, _ = play(*tagged("look", "look", *WINNING), max_repeats=3)
    assert episode.success


def test_a_circle_is_one_of_four_steps_or_fewer():
    steps = [step(n, action=f"go to desk {n % 5}") for n in range(1, 60)]
    seen = [replace(one, next_observation="Seen.") for one in steps]
    assert not runs_in_circle(steps, 2), "the same command with new answers"
    assert not runs_in_circle(seen, 8), "five steps around"
    assert runs_in_circle([one for one in seen if one.command != "go to desk 4"], 8)
    assert not runs_in_circle([], 2)


def test_the_first_observation_has_neither_banner_nor_task():
    _, policy = play(*tagged("look"), max_steps=1)
    assert policy.asked[0].view.observation == (
        "You are in the middle of a room. Looking quickly around you, you see a desk 1, and a shelf 1."
    )


@pytest.mark.parametrize(
    ("reply", "problem", "command"),
    [
        ("I go to the desk.", "no action tag", ""),
        ("<action>go to mars 1</action>", "not admissible", "go to mars 1"),
        ("", "empty", ""),
        ("<think>Maybe <action>go to desk 1</action>", "no action tag", ""),
    ],
)
def test_a_reply_that_cannot_be_played_costs_a_step(reply, problem, command):
    episode, _ = play(reply, max_steps=1)
    (step,) = episode.steps
    assert (step.problem, step.action, step.command) == (problem, None, command)
    assert step.next_observation == "Nothing happens."


def test_a_policy_that_fails_ends_the_episode_with_the_reason():
    episode, _ = play(*tagged("look"))
    assert (episode.error, len(episode.steps), episode.success) == ("nothing left to say", 1, False)


def test_a_single_turn_prompt_is_one_message_with_the_window():
    _, policy = play(*tagged(*WINNING), history_length=2)
    last = policy.asked[-1]
    assert [message.role for message in last.messages] == ["user"]
    assert [past.action for past in last.view.history] == list(WINNING[1:3])
    assert last.view.step == 3


def test_a_multi_turn_prompt_is_the_conversation_so_far():
    _, policy = play(*tagged(*WINNING), form="multi", history_length=1)
    last = policy.asked[-1]
    assert [message.role for message in last.messages] == ["user", "assistant"] * 3 + ["user"]
    assert last.messages[1].content == tagged(*WINNING)[0]
    assert len(last.view.history) == 3, "a conversation is never cut"


def test_every_turn_has_a_seed_of_its_own():
    _, policy = play(*tagged(*WINNING))
    assert len({prompt.seed for prompt in policy.asked}) == 4


def test_compact_prompts_hide_the_admissible_commands():
    episode, policy = play(*WINNING, template="compact")
    assert episode.success
    assert all(prompt.view.admissible_commands is None for prompt in policy.asked)


@pytest.mark.parametrize("form", ["single", "multi"])
def test_the_prompts_of_a_record_are_those_that_the_policy_was_asked(form):
    episode, policy = play(*(f"<think></think>{reply}" for reply in tagged(*WINNING)), form=form, history_length=2)
    asked = [replace(prompt, seed=0) for prompt in policy.asked]
    assert list(prompts_of(episode, load_template("default"), form, 2)) == asked


def test_half_a_surrogate_pair_is_replaced_wherever_a_server_says_one():
    said = Reply("<action>\ud800</action>", reasoning="half \ud83d")
    fails = PolicyError("the server said \udc00")

    class Server(Says):
        async def act(self, prompt):
            await super().act(prompt)
            if len(self.asked) > 1:
                raise fails
            return said

    episode = asyncio.run(run_episode(GAME, Server(("", "")), load_template("default"), Protocol(), seed=5))
    reply = episode.steps[0].reply
    assert (reply.text, reply.reasoning, episode.error) == ("<action>?</action>", "half ?", "the server said ?")
    assert from_line(to_line(episode)) == episode


def test_an_episode_ends_lost_where_a_student_has_made_the_goal_unreachable_for_its_teacher():
    """A teddy bear can be taken and, in some rooms, put nowhere again. What came before is kept."""
    (bear,) = (ref for ref in find_games("embedded", "train") if "KeyChain-None-DeskLamp-340" in ref.id)
    mistake = ("go to bed 1", "take teddybear 1 from bed 1")
    policy = Taught(Says(tagged(*mistake, "look", "look")), Planner())
    episode = asyncio.run(run_episode(bear.load(), policy, load_template("default"), Protocol(), seed=5))
    assert tuple(step.command for step in episode.steps) == mistake
    assert all(step.teacher for step in episode.steps)
    assert (episode.success, episode.error) == (False, None)


def test_a_conversation_holds_a_reply_without_the_empty_thought_before_it():
    replies = tagged(*WINNING)
    _, policy = play(*(f"<think>\n\n</think>\n\n{reply}" for reply in replies), form="multi")
    said = [m.content for m in policy.asked[-1].messages if m.role == "assistant"]
    assert said == list(replies[:3])
