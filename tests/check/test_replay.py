"""What differs between an episode and its replay, whatever its protocol shows of the game's answers."""

import asyncio
from dataclasses import replace

import pytest

from alfworld_sft.check.replay import Difference, find_differences
from alfworld_sft.policies.scripted import Scripted
from alfworld_sft.prompts.formats import TRY_ANOTHER
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.rollout import Protocol, run_episode
from alfworld_sft.types import Episode, Prompt, Reply
from alfworld_sft.world import Game
from alfworld_sft.world.plan import shortest_plan


def played(game: Game, template: str) -> Episode:
    """An episode whose first command cannot be played."""
    commands = ("fly to the moon", *shortest_plan(game))
    return asyncio.run(
        run_episode(game, Scripted(commands), load_template(template), Protocol(max_steps=len(commands)))
    )


def test_a_protocol_may_add_to_the_game_s_answer(kitchen: Game):
    assert played(kitchen, "trinity").steps[1].observation == f"Nothing happens. {TRY_ANOTHER}"
    assert played(kitchen, "default").steps[1].observation == "Nothing happens."


@pytest.mark.parametrize("template", ["default", "verl-agent", "react", "eto", "trinity"])
def test_what_a_protocol_shows_is_no_difference_and_anything_else_is(kitchen: Game, template: str):
    episode = played(kitchen, template)
    assert find_differences(episode, kitchen) == []
    first, second, *rest = episode.steps
    changed = replace(episode, steps=(first, replace(second, observation="You fly."), *rest))
    assert find_differences(changed, kitchen) == [Difference("observation", 2, "You fly.", "Nothing happens.")]


class Says:
    """A policy with given replies."""

    name = "says"
    sampling = None

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)

    def begin(self, game: Game, seed: int) -> "Says":
        return self

    async def act(self, prompt: Prompt) -> Reply:
        return Reply(self.texts.pop(0))


@pytest.mark.parametrize(
    ("template", "text", "problem"),
    [("react", "think: where is it?", None), ("verl-agent", "<action>look</action>", "no thought")],
)
def test_a_thought_and_a_breach_of_the_format_are_true_records(kitchen: Game, template: str, text: str, problem: str):
    says = Says(text, "look")
    episode = asyncio.run(run_episode(kitchen, says, load_template(template), Protocol(max_steps=2)))
    assert episode.steps[0].problem == problem
    assert find_differences(episode, kitchen) == []
    first, second = episode.steps
    changed = replace(episode, steps=(replace(first, reply=Reply("fly"), command="fly", problem=None), second))
    assert "problem" in [found.about for found in find_differences(changed, kitchen)]
