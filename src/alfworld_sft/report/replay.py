"""What does the world say of each recorded turn? The game is played again with the commands of the episode.

Three things come of it: the distance to the goal (the length of a shortest plan) before and after the command, what
the expert would do at that very state, and whether the recorded observation is what the world answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from alfworld_sft.errors import PolicyError, UserError
from alfworld_sft.policies.expert.expert import Expert, ExpertPlayer
from alfworld_sft.prompts.formats import formats_that_show
from alfworld_sft.report.read import Run
from alfworld_sft.runs.played_games import games_of_run, load_game
from alfworld_sft.types import Episode, Exchange, View
from alfworld_sft.world import Env, Game
from alfworld_sft.world.observations import opening_look

MOST_GAMES = 256
"""Games that are kept in memory, with the distances found in them."""

FindGame: TypeAlias = Callable[[Episode], Game | None]


@dataclass(frozen=True, slots=True)
class Replayed:
    """One turn in the world. Distances are in commands, None where the state cannot be won from any more.

    `world_says` is the world's own answer where the episode records another one; the turns after it are not replayed.
    """

    before: int | None
    after: int | None
    expert: str | None
    world_says: str | None = None


def replay(game: Game, episode: Episode) -> list[Replayed]:
    """Return what the world says of an episode's turns, up to the first that it answers differently."""
    env, player = Env(game, max(1, len(episode.steps))), Expert().begin(game, episode.seed)
    observation = env.reset()
    seen = opening_look(game)
    history: list[Exchange] = []
    turns: list[Replayed] = []
    reply, possible = "", observation.admissible_commands
    for step in episode.steps:
        before = env.distance()
        view = View(episode.task, len(history), tuple(history), seen, observation.admissible_commands)
        expert = _decide(player, view)
        if step.observation != seen and not formats_that_show(step.observation, reply, possible, seen):
            turns.append(Replayed(None, None, None, world_says=seen))
            break
        reply, possible = step.reply.text, observation.admissible_commands
        observation = env.step(step.command)
        differs = observation.text != step.next_observation
        after = env.distance()
        turns.append(Replayed(before, after, expert, observation.text if differs else None))
        if differs:
            break
        history.append(Exchange(seen, step.command))
        seen = observation.text
    return turns


def game_finder(run: Run, source: str | None = None) -> FindGame:
    """Return what finds the game of an episode, or None where it is not to be had.

    Games are sought where the run's stamp says, or in `source`; raises UserError for a `source` without games.
    """
    try:
        games = games_of_run(run.stamp, [] if source is None else [source])
    except UserError:
        if source is not None:
            raise
        return lambda _: None
    load = lru_cache(maxsize=MOST_GAMES)(load_game)
    return lambda episode: load(games.ref(episode.game_id, episode.split, episode.index))


def _decide(player: ExpertPlayer, view: View) -> str | None:
    try:
        return player.mind(view).decide().command
    except PolicyError:
        return None
