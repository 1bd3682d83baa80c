"""The planner wins in the fewest steps, and says beforehand what it will see."""

import asyncio

import pytest

from alfworld_sft.errors import PolicyError
from alfworld_sft.policies.planner import Planner
from alfworld_sft.prompts.tags import parse_reply
from alfworld_sft.types import Exchange, Prompt, View
from alfworld_sft.world import Env, Game
from alfworld_sft.world.plan import shortest_plan
from tests.handmade import Furniture, make_game

TAGS = ("observation", "think", "prediction", "action")


def prompt(observation: str, *history: tuple[str, str], step: int | None = None, seed: int = 0) -> Prompt:
    exchanges = tuple(Exchange(*exchange) for exchange in history)
    view = View("task", len(exchanges) if step is None else step, exchanges, observation, None)
    return Prompt(view, (), TAGS, seed)


def played(game: Game, *, window: int | None = None, obedient: bool = True) -> list[tuple[str, str, str]]:
    """Play an episode; of each step the command asked for, the prediction, and what was seen then.

    The disobedient one looks around before it does as told.
    """
    env, player = Env(game), Planner().begin(game, seed=0)
    seen, history, steps = env.reset(), [], []
    while not seen.over:
        shown = history if window is None else history[len(history) - window :]
        reply = asyncio.run(player.act(prompt(seen.text, *shown, step=len(history))))
        parsed = parse_reply(reply.text, TAGS, seen.admissible_commands)
        assert (parsed.problem, parsed.observation) == (None, seen.text)
        command = parsed.action if obedient or len(history) % 2 else "look"
        history.append((seen.text, command))
        seen = env.step(command)
        steps.append((parsed.action, parsed.prediction, seen.text))
    return steps


def test_it_plays_a_shortest_plan(kitchen: Game):
    assert len(played(kitchen)) == len(shortest_plan(kitchen))


def test_what_it_predicts_comes_true(kitchen: Game):
    assert all(prediction == seen for _, prediction, seen in played(kitchen))


@pytest.mark.parametrize("window", [0, 1])
def test_a_short_window_of_the_past_is_enough(kitchen: Game, window: int):
    assert played(kitchen, window=window) == played(kitchen)


def test_it_goes_on_from_wherever_the_game_is(kitchen: Game):
    assert len(played(kitchen, obedient=False)) == 2 * len(shortest_plan(kitchen))


def test_a_prompt_from_the_beginning_begins_anew(kitchen: Game):
    player = Planner().begin(kitchen, seed=0)
    first = prompt("start")
    reply = asyncio.run(player.act(first))
    asyncio.run(player.act(prompt("there", ("start", "go to fridge 1"), ("there", "open fridge 1"))))
    assert asyncio.run(player.act(first)) == reply


def test_a_prompt_that_shows_too_little_of_the_past_is_refused(kitchen: Game):
    player = Planner().begin(kitchen, seed=0)
    with pytest.raises(PolicyError, match=r"^the prompt of step 3 shows 1 of the 3 steps since the last$"):
        asyncio.run(player.act(prompt("there", ("start", "look"), step=3)))


def test_where_no_plan_wins_it_says_so():
    game = make_game("pick_and_place_simple", "mug", "desk", [Furniture("desk 1", 1)])
    with pytest.raises(PolicyError, match=r"^no sequence of commands wins from this state$"):
        asyncio.run(Planner().begin(game, seed=0).act(prompt("start")))


def test_its_words_vary_with_the_seed_of_the_prompt_and_its_actions_do_not(kitchen: Game):
    replies = [asyncio.run(Planner().begin(kitchen, 0).act(prompt("start", seed=seed))).text for seed in range(20)]
    assert len(set(replies)) == 4
    assert {parse_reply(reply, TAGS, ()).action for reply in replies} == {shortest_plan(kitchen)[0]}


def test_the_first_prompt_it_is_given_may_show_no_step_that_was_played(kitchen: Game):
    with pytest.raises(PolicyError, match=r"^the prompt of step 1 shows 0 of the 1 steps since the last$"):
        asyncio.run(Planner().begin(kitchen, seed=0).act(prompt("there", step=1)))
