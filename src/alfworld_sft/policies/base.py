"""What a policy is: something that begins a game and then answers prompts.

A `Policy` is made once a run and may be shared by all its episodes; `begin` gives a `Player` for one episode.
A player learns about the game from the prompts alone; what `begin` may use of the Game is for players that say so
(the planner), and for what names no hidden fact (the expert leaves the game's own scene out of its prior).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol, runtime_checkable

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
    def name(self) -> str:
        """The policy's name in every result."""
        ...

    @property
    def sampling(self) -> Mapping[str, object] | None:
        """How a language model is sampled (temperature and so on); None for other policies."""
        ...

    def begin(self, game: Game, seed: int) -> Player:
        """Return the player of one episode; `seed` is the episode's own."""
        ...


@runtime_checkable
class Serviced(Protocol):
    """A policy that plays only while something of its own runs beside it, such as its server."""

    def in_service(self) -> AbstractContextManager[object]:
        """Return the block in which it can play; entering raises PolicyUnavailableError."""
        ...


def in_service(policy: Policy) -> AbstractContextManager[object]:
    """Return the block in which a policy can play."""
    return policy.in_service() if isinstance(policy, Serviced) else nullcontext()


def short_name(model: str) -> str:
    """Return a hub name unchanged, or a folder's last two parts, so that no full path is recorded."""
    path = Path(model).expanduser()
    return "/".join(path.absolute().parts[-2:]).strip("/") if path.exists() else model
