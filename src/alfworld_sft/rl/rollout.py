"""How are a step's games drawn and played? Each game G times, with the model as it is now.

Everything follows from the run's seed and the games' numbers: on a CPU the same weights play the same episodes, token
for token. Each process plays its share, and all of them receive all episodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from alfworld_sft.games import GameSource
from alfworld_sft.policies.base import Policy
from alfworld_sft.prompts.template import Template
from alfworld_sft.runs.rollout import Protocol
from alfworld_sft.runs.runner import EpisodePlayer
from alfworld_sft.train.distributed import Ranks
from alfworld_sft.types import Episode
from alfworld_sft.world import Env, Game


@dataclass(frozen=True, slots=True)
class Group:
    """A game, its number in the run, and its episodes."""

    number: int
    game: Game
    episodes: tuple[Episode, ...]

    @property
    def finished(self) -> tuple[Episode, ...]:
        """The episodes that the policy played to their end; the others say nothing about it."""
        return tuple(episode for episode in self.episodes if episode.error is None)

    @property
    def won(self) -> int:
        """How many of the episodes were won."""
        return sum(episode.success for episode in self.episodes)


@dataclass(frozen=True, slots=True)
class Rollout:
    """How games are drawn and played: each `generations` times, at most `concurrency` episodes at once a process."""

    games: GameSource
    template: Template
    protocol: Protocol
    seed: int
    generations: int
    concurrency: int

    def play(self, policy: Policy, numbers: Sequence[int], ranks: Ranks) -> list[Group]:
        """Play the games of these numbers; every process must call this, and gets all of their episodes.

        Raises GameFileError for a game that cannot be read.
        """
        loaded = {number: self.games.ref(number).load() for number in numbers}
        plays = [(number * self.generations + play, loaded[number]) for number in numbers for play in self._plays]
        mine = plays[ranks.rank :: ranks.world]
        shares = ranks.gather(asyncio.run(self._play(policy, mine)))
        episodes = {episode.index: episode for share in shares for episode in share}
        return [
            Group(number, game, tuple(episodes[number * self.generations + play] for play in self._plays))
            for number, game in loaded.items()
        ]

    @property
    def _plays(self) -> range:
        return range(self.generations)

    async def _play(self, policy: Policy, plays: Sequence[tuple[int, Game]]) -> list[Episode]:
        player = EpisodePlayer(policy, self.template, self.protocol, self.seed)
        played: list[Episode] = []

        async def play_on(waiting: Iterator[tuple[int, Game]]) -> None:
            for index, game in waiting:
                played.append(await player.play_game(index, game))

        waiting = iter(plays)
        await asyncio.gather(*(play_on(waiting) for _ in range(min(self.concurrency, len(plays)))))
        return played


def distances_of(game: Game, episode: Episode) -> list[int | None]:
    """Return the distance to the goal before the first step of an episode and after each; None: it cannot be won."""
    env = Env(game, episode.max_steps)
    env.reset()
    found = [env.distance()]
    for step in episode.steps:
        env.step(step.command)
        found.append(env.distance())
    return found
