"""`Env`: one game being played, with Gymnasium's `reset` and `step` and its two ways to end.

An `Env` can also be copied (`fork`), saved and put back (`state`, `restore`), and asked how far the goal is
(`distance`).
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from alfworld_sft.errors import UserError
from alfworld_sft.types import MAX_STEPS
from alfworld_sft.world import observations, rules
from alfworld_sft.world.admissible import Admissible, admissible_actions
from alfworld_sft.world.distance import distance
from alfworld_sft.world.game import Game, State
from alfworld_sft.world.language import NOTHING_HAPPENS


class NotMeasured(Enum):
    """The type of `NOT_MEASURED`."""

    NOT_MEASURED = "not measured"


NOT_MEASURED: Final = NotMeasured.NOT_MEASURED
"""`Observation.distance` of an `Env` that was not asked for distances; None would mean that nothing can win."""


class Observation(NamedTuple):
    """What the player receives: the game's text, the admissible commands (sorted), and whether it is over.

    `terminated`: the task is done. `truncated`: the step limit was reached first. `distance` is what `Env.distance`
    returns, if the `Env` was made with `with_distance=True`.
    """

    text: str
    admissible_commands: tuple[str, ...]
    won: bool
    terminated: bool
    truncated: bool
    distance: int | NotMeasured | None = NOT_MEASURED

    @property
    def over(self) -> bool:
        """Whether the episode has ended, either way."""
        return self.terminated or self.truncated


@dataclass(frozen=True, slots=True)
class EnvState:
    """Where an episode stands: an opaque token from `Env.state` for `Env.restore`, which can be pickled.

    Equal tokens mean the same game with the same future: state and steps taken are compared, not how they came about.
    Hashes of tokens differ between processes.
    """

    _game_id: str = field(compare=False)
    _fingerprint: str
    _steps: int
    _state: State
    _text: str = field(compare=False)


class Env:
    """Plays one game. Cheap to make: the game is shared, only the state is its own.

    Like the reference's bare environment it continues after the task is done, and `won` says whether the goal holds
    in the state at hand; callers stop at `Observation.over`.

    `game_state` is the state in the terms of `world.rules`; `steps` counts the commands since the start.
    """

    __slots__ = ("_admissible", "_text", "game", "game_state", "max_steps", "steps", "with_distance")

    def __init__(self, game: Game, max_steps: int = MAX_STEPS, *, with_distance: bool = False) -> None:
        if max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, not {max_steps}")
        self.game = game
        self.max_steps = max_steps
        self.with_distance = with_distance
        self.game_state: State = game.initial
        self.steps = 0
        self._text = ""
        self._admissible: Admissible | None = None

    def reset(self) -> Observation:
        """Put the game back to its start and return the opening."""
        self.game_state = self.game.initial
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
        self.game_state = rules.transition(self.game, self.game_state, action)
        return self._observe(observations.feedback(self.game, self.game_state, action))

    def fork(self) -> Env:
        """Return a copy that plays on by itself, from the same state and with the same steps taken.

        It costs a few microseconds and no memory to speak of: states are never changed in place.
        """
        return copy(self)

    @property
    def state(self) -> EnvState:
        """Where the episode stands, for `restore` in any `Env` of the same game, also in another process.

        Raises RuntimeError before the first `reset`.
        """
        if self._admissible is None:
            raise RuntimeError("call reset() before taking the state")
        return EnvState(self.game.id, self.game.fingerprint, self.steps, self.game_state, self._text)

    def restore(self, state: EnvState) -> Observation:
        """Continue from where `state` was taken, and return what was observed there.

        The limit of steps and the wish for distances remain this `Env`'s own. Raises UserError for the state of
        another game.
        """
        if not isinstance(state, EnvState):
            raise UserError(f"Env.restore takes what Env.state gave, not {type(state).__name__}")
        if state._fingerprint != self.game.fingerprint:
            raise UserError(
                f"a state of the game {state._game_id} cannot be restored in {self.game.id}"
                f"{', whose content differs' if state._game_id == self.game.id else ''}; make an Env of its own game"
            )
        self.game_state, self.steps = state._state, state._steps
        return self._observe(state._text)

    def distance(self) -> int | None:
        """Return the length of a shortest plan from here: 0 when won, None when the game can no longer be won.

        It is exact and knows everything, also what the player has not seen; the limit of steps plays no part.
        """
        return distance(self.game, self.game_state)

    def _observe(self, text: str) -> Observation:
        game, state = self.game, self.game_state
        self._text = text
        admissible = self._admissible = admissible_actions(game, state)
        won = rules.goal_reached(game, state)
        truncated = not won and self.steps >= self.max_steps
        if self.with_distance:
            return Observation(text, admissible.commands, won, won, truncated, self.distance())
        return Observation(text, admissible.commands, won, won, truncated)
