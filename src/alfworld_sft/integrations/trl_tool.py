"""How does a model play a game by calling a tool? The environment that TRL's `environment_factory` makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from alfworld_sft.errors import UserError
from alfworld_sft.prompts.listing import list_commands
from alfworld_sft.world import Env, Game, Observation


class AlfworldTool:
    """A game that a model plays by calling the tool `act`, for chat templates with tool calls.

    TRL's loop continues for as long as the model calls the tool, and the environment cannot end it
    (huggingface/trl#5389): set `max_tool_calling_iterations`. A call after the end changes nothing, and its answer says
    so. The reward is 1.0 for a game that was won, else 0.0.
    """

    def __init__(self, game_of: Callable[[Any], Game], max_steps: int) -> None:
        self._game_of = game_of
        self._max_steps = max_steps
        self._env: Env | None = None
        self._seen: Observation | None = None

    def reset(self, prompt: Any = None, **row: Any) -> str:
        """Start the game that the row's prompt names, and return its opening with the admissible commands."""
        self._env = Env(self._game_of(prompt), self._max_steps)
        self._seen = self._env.reset()
        return _shown(self._seen)

    def act(self, command: str) -> str:
        """Execute one command in the game.

        Args:
            command: One of the admissible commands, written exactly as listed.

        Returns:
            What happens, and the commands that are admissible next.
        """
        if self._env is None or self._seen is None:
            raise RuntimeError("call reset() before act()")
        if not isinstance(command, str):
            raise UserError(f"a command is text, not {type(command).__name__}")
        if self._seen.over:
            return f"The game is over, and it was {'won' if self._seen.won else 'lost'}. Do not call act again."
        self._seen = self._env.step(command)
        return _shown(self._seen)

    def get_reward(self) -> float:
        """Return 1.0 if the game is won, else 0.0."""
        return float(self._seen is not None and self._seen.won)


def _shown(observation: Observation) -> str:
    """Return what a tool answers: the game's text, and what can be done next or how it ended."""
    if observation.won:
        return f"{observation.text}\n\nYou have won the game. Do not call act again."
    if observation.truncated:
        return f"{observation.text}\n\nYou have no steps left and lost the game. Do not call act again."
    return f"{observation.text}\n\nAdmissible commands: {list_commands(observation.admissible_commands)}"
