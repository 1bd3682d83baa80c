"""Plays any admissible command, each as likely as the others: the baseline that every policy must beat."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from alfworld_sft.policies.base import Player
from alfworld_sft.policies.expert.belief import Belief
from alfworld_sft.policies.expert.decide import Mind
from alfworld_sft.policies.expert.goal import read_goal
from alfworld_sft.policies.expert.mistakes import imaginable
from alfworld_sft.policies.expert.predict import predict
from alfworld_sft.policies.expert.prior import NO_PRIOR
from alfworld_sft.policies.expert.thoughts import summarise
from alfworld_sft.prompts.formats import write_reply
from alfworld_sft.types import Prompt, Reply, Wording
from alfworld_sft.world import Game


@dataclass(frozen=True, slots=True)
class RandomPlayer:
    """Plays at random; without admissible commands it plays what the text suggests."""

    @property
    def name(self) -> str:
        """The policy's name in every result."""
        return "random"

    @property
    def sampling(self) -> None:
        """None: no language model is sampled."""
        return None

    def begin(self, game: Game, seed: int) -> Player:
        """Return the player of one episode; each prompt's own seed decides the turn."""
        return _Player(game.variant.version)


@dataclass(frozen=True, slots=True)
class _Player:
    """Plays one episode at random."""

    grammar: Wording

    async def act(self, prompt: Prompt) -> Reply:
        """Answer with a random command: the same prompt always gets the same reply."""
        rng = Random(prompt.seed)
        mind = Mind(Belief(prompt.view), read_goal(prompt.view.task), NO_PRIOR, "prior", self.grammar)
        commands = prompt.view.admissible_commands
        command = rng.choice(imaginable(mind) if commands is None else commands)
        parts = {
            "think": "I try any command.",
            "prediction": predict(mind, command),
            "observation": summarise(mind.belief.last, rng),
            "action": command,
        }
        return Reply(write_reply(prompt.reply_format, prompt.tags, parts))
