"""Plays given commands, whatever the game says: walkthroughs, plans, tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alfworld_sft.errors import PolicyError
from alfworld_sft.policies.base import Player
from alfworld_sft.prompts.formats import write_reply
from alfworld_sft.types import Prompt, Reply
from alfworld_sft.world import Game


@dataclass(frozen=True, slots=True)
class Scripted:
    """Plays one list of commands in every game, or one for each game id."""

    commands: Sequence[str] | Mapping[str, Sequence[str]]

    @property
    def name(self) -> str:
        """The policy's name in every result."""
        return "scripted"

    @property
    def sampling(self) -> None:
        """None: no language model is sampled."""
        return None

    def begin(self, game: Game, seed: int) -> Player:
        """Return the player of one episode; raises PolicyError where the script has nothing for the game."""
        if not isinstance(self.commands, Mapping):
            return _Player(tuple(self.commands))
        if game.id not in self.commands:
            raise PolicyError(f"the script has no commands for the game {game.id!r}")
        return _Player(tuple(self.commands[game.id]))


@dataclass(frozen=True, slots=True)
class _Player:
    """Plays the command whose turn it is."""

    commands: tuple[str, ...]

    async def act(self, prompt: Prompt) -> Reply:
        """Answer with the command of this step; raises PolicyError when there is none left."""
        step = prompt.view.step
        if step >= len(self.commands):
            raise PolicyError(f"the script has {len(self.commands)} commands, and step {step + 1} needs one more")
        parts = {
            "think": "I follow the script.",
            "prediction": "I do not know.",
            "observation": "I follow the script.",
            "action": self.commands[step],
        }
        return Reply(write_reply(prompt.reply_format, prompt.tags, parts))
