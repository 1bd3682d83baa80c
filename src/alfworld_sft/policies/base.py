"""What a policy is: something that begins a game and then answers prompts.

A `Policy` is made once a run and may be shared by all its episodes; `begin` gives a `Player` for one episode.
A player learns about the game from the prompts alone; what `begin` may use of the Game is for players that say so
(the planner), and for what names no hidden fact (the expert leaves the game's own scene out of its prior).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from alfworld_sft.types import Prompt, Reply
from alfworld_sft.world import Game


class Player(Protocol):
    """Plays one episode."""

    async def act(self, prompt: Prompt) -> Reply:
        """Answer one prompt; raises PolicyError where no answer can be had."""
        ...


class Policy(Protocol):
    """Plays any number of episodes. `name` goes into every result.

    `sampling` says how a language model is sampled (temperature and so on), and is None for what is no such model.
    """

    @property
    def name(self) -> str: ...

    @property
    def sampling(self) -> Mapping[str, object] | None: ...

    def begin(self, game: Game, seed: int) -> Player:
        """Return the player of one episode; `seed` is the episode's own."""
        ...
