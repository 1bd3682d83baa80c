"""How is a game played as a conversation with a model? What bridges to frameworks of chats share.

The messages are a template's multi-turn form, as in `runs.rollout`: a model trained on our conversations is asked what
it was trained on.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

from alfworld_sft.errors import UserError
from alfworld_sft.prompts.tags import Problem, parse_reply
from alfworld_sft.prompts.template import Template
from alfworld_sft.types import Exchange
from alfworld_sft.world import Env, Game, Observation
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
    """One game as a conversation: `message` is what the model is asked next."""

    def __init__(self, game: Game, template: Template, max_steps: int) -> None:
        self._env = Env(game, max_steps)
        self._template = template
        self._history: tuple[Exchange, ...] = ()
        self._observation = self._env.reset()
        self._seen = opening_look(game)  # the opening less banner and task, which templates take from the game

    @property
    def game(self) -> Game:
        """The game being played."""
        return self._env.game

    @property
    def message(self) -> str:
        """The next user message."""
        view = self._template.view(
            self.game.task, self._history, self._seen, self._observation.admissible_commands, None
        )
        return self._template.multi_turn(view)

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
        parsed = parse_reply(reply, self._template.tags, self._observation.admissible_commands)
        command = parsed.action or ""
        self._history = (*self._history, Exchange(self._seen, command))
        observation: Observation = self._env.step(command)
        self._observation, self._seen = observation, observation.text
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
        return twin
