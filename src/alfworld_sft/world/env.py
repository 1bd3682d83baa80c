"""`Env`: one game being played, with Gymnasium's `reset` and `step` and its two ways to end."""

from __future__ import annotations

from typing import NamedTuple

from alfworld_sft.world import observations, rules
from alfworld_sft.world.admissible import Admissible, admissible_actions
from alfworld_sft.world.game import Game, State
from alfworld_sft.world.language import NOTHING_HAPPENS


class Observation(NamedTuple):
    """What the player receives: the game's text, the admissible commands (sorted), and whether it is over.

    `terminated`: the task is done. `truncated`: the step limit was reached first.
    """

    text: str
    admissible_commands: tuple[str, ...]
    won: bool
    terminated: bool
    truncated: bool

    @property
    def over(self) -> bool:
        """Whether the episode has ended, either way."""
        return self.terminated or self.truncated


class Env:
    """Plays one game. Cheap to make: the game is shared, only the state is its own.

    Like the reference's bare environment it continues after the task is done, and `won` says whether the goal holds
    in the state at hand; callers stop at `Observation.over`.
    """

    __slots__ = ("_admissible", "game", "max_steps", "state", "steps")

    def __init__(self, game: Game, max_steps: int = 50) -> None:
        if max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, not {max_steps}")
        self.game = game
        self.max_steps = max_steps
        self.state: State = game.initial
        self.steps = 0
        self._admissible: Admissible | None = None

    def reset(self) -> Observation:
        """Put the game back to its start and return the opening."""
        self.state = self.game.initial
        self.steps = 0
        return self._observe(observations.opening(self.game))

    def step(self, command: str) -> Observation:
        """Play one command; one that is not admissible changes nothing and costs a step.

        Raises RuntimeError before the first `reset`.
        """
        if self._admissible is None:
            raise RuntimeError("call reset() before step()")
        self.steps += 1
        action = self._admissible.action(command.strip())
        if action is None:
            return self._observe(NOTHING_HAPPENS)
        self.state = rules.transition(self.game, self.state, action)
        return self._observe(observations.feedback(self.game, self.state, action))

    def _observe(self, words: str) -> Observation:
        game, state = self.game, self.state
        admissible = self._admissible = admissible_actions(game, state)
        won = rules.goal_reached(game, state)
        truncated = not won and self.steps >= self.max_steps
        return Observation(words, admissible.commands, won, won, truncated)
