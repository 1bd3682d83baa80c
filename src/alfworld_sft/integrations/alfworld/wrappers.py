"""What do textworld's own wrappers do? They pass on what was asked for, limit the steps, and load any game."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from alfworld_sft.games.layout import GAME_SUFFIX
from alfworld_sft.integrations.alfworld.core import EnvInfos, GameState, UncoveredError, Wrapper
from alfworld_sft.integrations.alfworld.pddl import PddlEnv


class Filter(Wrapper):
    """Gives (text, infos) and (text, score, done, infos) in place of states: infos are what `request_infos` names."""

    def reset(self) -> tuple[str, dict[str, Any]]:
        """Begin the game."""
        state = super().reset()
        return state["feedback"], self._requested(state)

    def step(self, command: str) -> tuple[str, float, bool, dict[str, Any]]:
        """Play a command."""
        state, score, done = super().step(command)
        return state["feedback"], score, done, self._requested(state)

    def _requested(self, state: GameState) -> dict[str, Any]:
        asked: EnvInfos = self.request_infos
        keys = [*asked.basics, *(f"extra.{name}" for name in asked.extras)]
        return {key: state.get(key) for key in keys}


class Limit(Wrapper):
    """Ends an episode after `max_episode_steps` steps."""

    def __init__(self, env: Any, max_episode_steps: int) -> None:
        super().__init__(env)
        self.max_episode_steps = max_episode_steps
        self.nb_steps = 0

    def reset(self) -> Any:
        """Begin the game, and to count."""
        state = super().reset()
        self.nb_steps = 0
        return state

    def step(self, command: str) -> tuple[GameState, float, bool]:
        """Play a command; done at the limit at the latest."""
        state, score, done = super().step(command)
        self.nb_steps += 1
        return state, score, done or self.nb_steps >= self.max_episode_steps


class GenericEnvironment(Wrapper):
    """Loads a game with the environment that its file's ending asks for."""

    def __init__(self, request_infos: EnvInfos | None = None) -> None:
        super().__init__()
        self.request_infos = request_infos

    def load(self, path: Any) -> None:
        """Load a game; raises UncoveredError for a file of another kind, GameFileError for an unplayable one."""
        if self._wrapped_env is None:
            self._wrap(make_backend(path, self.request_infos))
        self._wrapped_env.load(path)


def make_backend(path: str | Path, request_infos: EnvInfos | None = None) -> PddlEnv:
    """Return an environment for games of this file's kind; raises UncoveredError for a kind that is not played."""
    if not str(path).endswith(GAME_SUFFIX):
        raise UncoveredError(
            f"{path}: only ALFWorld's {GAME_SUFFIX} games are played here; other games need the real textworld"
        )
    return PddlEnv(request_infos)


def start(path: str | Path, request_infos: EnvInfos | None = None, wrappers: Iterable[Any] = ()) -> Any:
    """Load a game into an environment with these wrappers, the first innermost; raises OSError without the file."""
    if not Path(path).is_file():
        raise OSError(f"Unable to find game '{Path(path).absolute()}'.")
    env: Any = make_backend(path, request_infos)
    for wrapper in wrappers:
        env = wrapper(env)
    env.load(path)
    return env
