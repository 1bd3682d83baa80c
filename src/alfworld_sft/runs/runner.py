"""How are many episodes played at once? Which game each one plays, with which policy, and how far the run is."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from alfworld_sft.errors import GameFileError
from alfworld_sft.games import GameRef, GameSource
from alfworld_sft.policies.base import Policy
from alfworld_sft.prompts.template import Template
from alfworld_sft.runs.probes import NO_PROBES, Probes
from alfworld_sft.runs.rollout import Protocol, run_episode
from alfworld_sft.runs.store import RunFolder
from alfworld_sft.seeds import derive_seed
from alfworld_sft.types import Episode
from alfworld_sft.world import Game

LOADED_GAMES = 512
"""Games kept in memory: about 100 KB each."""


@dataclass(frozen=True, slots=True)
class NotBegun:
    """An episode that could not begin, and the reason; it stays owed."""

    index: int
    game_id: str
    error: str


@dataclass
class RunCounts:
    """How far a run is."""

    total: int
    played: int = 0
    won: int = 0
    failed: int = 0

    def add(self, episode: Episode | None) -> None:
        """Count one more episode, or one that could not begin (None)."""
        if episode is not None and episode.error is None:
            self.played += 1
            self.won += episode.success
        else:
            self.failed += 1

    @property
    def success_rate(self) -> float:
        """Share of the played episodes that were won, 0 before the first."""
        return self.won / self.played if self.played else 0.0


@dataclass
class GameCache:
    """Loads games, and caches the most recent ones."""

    _loaded: OrderedDict[str, Game] = field(default_factory=OrderedDict)

    def load(self, ref: GameRef) -> Game:
        """Return the game; raises GameFileError."""
        game = self._loaded.get(ref.id)
        if game is None:
            game = self._loaded[ref.id] = ref.load()
            if len(self._loaded) > LOADED_GAMES:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(ref.id)
        return game


@dataclass(frozen=True, slots=True)
class EpisodePlayer:
    """Plays a run's episodes; each depends only on its number and the run's seed, not on when or where it is played."""

    policy: Policy
    template: Template
    protocol: Protocol
    seed: int
    probes: Probes = NO_PROBES
    _cache: GameCache = field(default_factory=GameCache)

    async def play(self, index: int, games: GameSource) -> Episode | NotBegun:
        """Play one episode to its end, unless its game cannot be read."""
        ref = games.ref(index)
        try:
            game = ref.load() if games.total is None else self._cache.load(ref)  # an endless source repeats no game
        except GameFileError as error:
            return NotBegun(index, ref.id, str(error))
        return await self.play_game(index, game)

    async def play_game(self, index: int, game: Game) -> Episode:
        """Play one episode of a loaded game."""
        seed = derive_seed(self.seed, "episode", index)
        return await run_episode(
            game, self.policy, self.template, self.protocol, index=index, seed=seed, probes=self.probes
        )


async def run_episodes(
    run: RunFolder,
    total: int,
    games: GameSource,
    policy: Policy,
    template: Template,
    protocol: Protocol,
    *,
    seed: int,
    concurrency: int,
    on_episode: Callable[[Episode | None], None],
    probes: Probes = NO_PROBES,
) -> None:
    """Play the owed episodes of a run of `total`, `concurrency` at a time, into its journal.

    Episode i plays `games.ref(i)`. Episodes do not wait for one another. `on_episode` is called with each episode after
    it is in the journal, and with None for one with an unreadable game.
    """
    player = EpisodePlayer(policy, template, protocol, seed, probes)

    async def play(waiting: Iterator[int]) -> None:
        for index in waiting:
            record(run, await player.play(index, games), on_episode)
            await asyncio.sleep(0)  # lets Ctrl-C and other episodes in, even if the policy itself never waits

    waiting = run.owed(total)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, total)):
                group.create_task(play(waiting))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    run.sync()


def record(run: RunFolder, outcome: Episode | NotBegun, on_episode: Callable[[Episode | None], None]) -> None:
    """Write an episode's outcome to the journal, then report it."""
    if isinstance(outcome, NotBegun):
        run.append_failure(outcome.index, outcome.game_id, outcome.error)
        on_episode(None)
    else:
        run.append(outcome)
        on_episode(outcome)
