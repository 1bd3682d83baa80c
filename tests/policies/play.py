"""Games and prompts for the tests of the players."""

import asyncio
from collections.abc import Sequence

from alfworld_sft.policies.base import Policy
from alfworld_sft.policies.expert.expert import Expert
from alfworld_sft.prompts.tags import parse_reply
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.rollout import Protocol, run_episode
from alfworld_sft.types import Episode, Exchange, Form, Prompt, View
from alfworld_sft.world import Game
from tests.handmade import Furniture, make_game

ROOM = (
    "You are in the middle of a room. Looking quickly around you, you see a desk 1, a drawer 2, a drawer 1, "
    "a shelf 1, and a sinkbasin 1."
)
"""The opening of `study`, without drawer 3."""


def study(drawer_2: tuple[str, ...] = ("mug 1",), *, task: str = "put a mug in shelf.", older: bool = False) -> Game:
    """Return a game with a desk, a shelf, a sink, and two drawers; drawer 3 stands where the desk does."""
    return make_game(
        "pick_and_place_simple",
        "mug",
        "shelf",
        [
            Furniture("desk 1", 1, ("pen 1", "book 2")),
            Furniture("drawer 1", 2),
            Furniture("drawer 2", 3, drawer_2),
            Furniture("drawer 3", 1, openable=False),
            Furniture("shelf 1", 4),
            Furniture("sinkbasin 1", 5),
        ],
        task=task,
        older=older,
    )


def play(
    game: Game,
    policy: Policy,
    template: str = "default",
    *,
    seed: int = 0,
    window: int | None = None,
    max_steps: int = 50,
    form: Form = "single",
) -> Episode:
    """Return the episode of one game."""
    protocol = Protocol(max_steps=max_steps, form=form, history_length=window)
    return asyncio.run(run_episode(game, policy, load_template(template), protocol, seed=seed))


def commands(episode: Episode) -> list[str]:
    """Return what was sent to the game."""
    return [step.command for step in episode.steps]


def view(
    *past: str | tuple[str, str],
    now: str,
    task: str = "put a mug in shelf.",
    step: int | None = None,
    admissible: Sequence[str] | None = None,
) -> View:
    """Return a view: (observation, action) pairs, then the current observation."""
    history = tuple(Exchange(*pair) for pair in past)
    given = None if admissible is None else tuple(admissible)
    return View(task, len(history) if step is None else step, history, now, given)


def prompt(shown: View, tags: tuple[str, ...] = ("think", "action"), seed: int = 0) -> Prompt:
    """Return a prompt for a view; the expert reads no messages."""
    return Prompt(shown, (), tags, seed)


def act(shown: View, expert: Expert | None = None) -> str:
    """Return the action that the expert takes on a view of `study`."""
    player = (expert or Expert()).begin(study(), 0)
    return parse_reply(player.reply(prompt(shown)).text, ("think", "action"), ()).action or ""
