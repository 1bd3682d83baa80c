"""Which reward functions does TRL's GRPOTrainer get for our games? Success, or the share of the way that was made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alfworld_sft.world import Env, Game


def success_reward(won: Sequence[bool], **_: Any) -> list[float]:
    """Return 1.0 for a game won, else 0.0: a reward function for `Games.rollout`."""
    return [float(each) for each in won]


def progress_reward(progress: Sequence[float], **_: Any) -> list[float]:
    """Return the progress that was made, from 0.0 to 1.0 (`progress_of`): a reward function for `Games.rollout`."""
    return list(progress)


def progress_of(game: Game, commands: Sequence[str]) -> float:
    """Return which share of the shortest plan is no longer needed after these commands.

    1.0 if the game is won; 0.0 if it can no longer be won, or is no nearer to that than at the start.
    """
    env = Env(game)
    env.reset()
    start = env.distance()
    for command in commands:
        env.step(command)
    left = env.distance()
    return max(0.0, 1 - left / start) if start and left is not None else 0.0
