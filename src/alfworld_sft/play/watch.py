"""A policy plays and a person watches: each turn is shown when it is played, step by step or with pauses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from alfworld_sft.policies.base import Player, Policy, in_service
from alfworld_sft.prompts.template import Template
from alfworld_sft.runs.rollout import Protocol, run_episode
from alfworld_sft.signals import waiting
from alfworld_sft.types import Episode, Prompt, Reply
from alfworld_sft.world import Game

Show = Callable[[str, str], None]
"""Shows a text; the first argument says what it is: "game", "policy" or "note"."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A policy whose turns are shown. `wait` is called before each turn and may take its time."""

    policy: Policy
    show: Show
    wait: Callable[[], None]

    @property
    def name(self) -> str:
        """The policy's own name."""
        return self.policy.name

    @property
    def sampling(self) -> Mapping[str, object] | None:
        """How the policy itself is sampled."""
        return self.policy.sampling

    def begin(self, game: Game, seed: int) -> Player:
        """Return the policy's player, watched."""
        return _WatchedPlayer(self.policy.begin(game, seed), self)


@dataclass(frozen=True, slots=True)
class _WatchedPlayer:
    player: Player
    watched: Watched

    async def act(self, prompt: Prompt) -> Reply:
        """Show what the policy sees, wait, and show what it says."""
        self.watched.show("game", prompt.view.observation)
        with waiting():
            self.watched.wait()
        reply = await self.player.act(prompt)
        self.watched.show("policy", reply.text)
        return reply


def watch_policy(
    game: Game,
    policy: Policy,
    template: Template,
    protocol: Protocol,
    show: Show,
    wait: Callable[[], None],
    *,
    seed: int,
) -> Episode:
    """Play one game with the policy, shown turn by turn, and return the episode."""
    show("note", f"{policy.name} plays {game.id}: {game.task}")
    with in_service(policy):
        episode = asyncio.run(run_episode(game, Watched(policy, show, wait), template, protocol, seed=seed))
    if episode.steps:
        show("game", episode.steps[-1].next_observation)
    steps = len(episode.steps)
    show("note", episode.error or f"{'won' if episode.success else 'lost'} after {steps} step{'s' * (steps != 1)}")
    return episode
