"""How is a game played as a conversation with a model? What bridges to frameworks of chats share.

The messages are a template's multi-turn form, as in `runs.rollout`: a model trained on our conversations is asked what
it was trained on.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

from alfworld_sft.errors import UserError
from alfworld_sft.prompts.formats import read_reply, shown_answer
from alfworld_sft.prompts.tags import Problem
from alfworld_sft.prompts.template import Template
from alfworld_sft.prompts.transcript import Transcript
from alfworld_sft.types import Message
from alfworld_sft.world import Env, Game
from alfworld_sft.world.observations import opening_look


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of a reply: the next user message, and 1.0 if the game is won by it, else 0.0.

    `command` is what the game was sent; `problem` says why the reply held no admissible command, None where it did.
    """

    message: str
    reward: float
    terminated: bool
    truncated: bool
    command: str
    problem: Problem | None

    @property
    def over(self) -> bool:
        """Whether the episode has ended, either way."""
        return self.terminated or self.truncated

    @property
    def info(self) -> dict[str, Any]:
        """What frameworks record beside the message."""
        return {"won": self.terminated, "command": self.command, "problem": self.problem}


class Conversation:
    """One game as a conversation: `message` is what the model is asked next.

    `opening` is what stands before the first of them: a template's system message, if it has one.
    """

    def __init__(self, game: Game, template: Template, max_steps: int) -> None:
        self._env = Env(game, max_steps)
        self._template = template
        self._transcript = Transcript(template, game, "multi")
        self._observation = self._env.reset()
        self._prompt = self._transcript.prompt(opening_look(game), self.admissible_commands)
        self.opening: tuple[Message, ...] = self._prompt.messages[:-1]

    @property
    def game(self) -> Game:
        """The game being played."""
        return self._env.game

    @property
    def message(self) -> str:
        """The next user message."""
        return self._prompt.messages[-1].content

    @property
    def admissible_commands(self) -> tuple[str, ...]:
        """What the game would execute now."""
        return self._observation.admissible_commands

    @property
    def info(self) -> dict[str, Any]:
        """Which game it is."""
        return {"game": self.game.id, "task": self.game.task, "task_type": self.game.task_type}

    def answer(self, reply: str) -> Turn:
        """Play the action of a reply, which costs a step even if there is none.

        Raises UserError for a reply that is no text, RuntimeError after the end.
        """
        if not isinstance(reply, str):
            raise UserError(f"a reply is text, not {type(reply).__name__}")
        if self._observation.over:
            raise RuntimeError("the episode is over; start another one")
        reply_format = self._template.reply_format
        parsed = read_reply(reply_format, reply, self._template.tags, self.admissible_commands)
        command = parsed.action or ""
        self._observation = observation = self._env.step(command)
        self._transcript.add(self._prompt, reply, command)
        seen = shown_answer(reply_format, parsed, observation.text)
        self._prompt = self._transcript.prompt(seen, self.admissible_commands)
        return Turn(
            self.message,
            float(observation.won),
            observation.terminated,
            observation.truncated,
            command,
            parsed.problem,
        )

    def fork(self) -> Conversation:
        """Return a copy that continues by itself."""
        twin = copy(self)
        twin._env = self._env.fork()
        twin._transcript = self._transcript.fork()
        return twin
