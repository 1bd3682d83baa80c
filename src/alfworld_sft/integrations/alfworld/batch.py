"""How are several games played at once? One after another in this process: a step takes microseconds.

So textworld's `AsyncBatchEnv`, which has a process for each game, and its `SyncBatchEnv` are one class here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from alfworld_sft.integrations.alfworld.core import Environment, GameNotRunningError

Infos = dict[str, list[Any]]
Result = tuple[str, float, bool, dict[str, Any]]


class BatchEnv(Environment):
    """Plays one game in each environment; a game that is over repeats its last result.

    With `auto_reset` it begins again instead, on the step after its last.
    """

    def __init__(self, env_fns: Sequence[Callable[[], Any]], auto_reset: bool = False) -> None:
        super().__init__()
        self.auto_reset = auto_reset
        self.envs = [make() for make in env_fns]
        self.batch_size = len(self.envs)
        self.last: list[Result | None] | None = None

    def load(self, path: Sequence[str]) -> None:
        """Load one game into each environment."""
        for env, file in zip(self.envs, path, strict=True):
            env.load(file)

    def seed(self, seed: Any = None) -> list[int]:
        """Do nothing: these games have no chance in them."""
        del seed
        return []

    def reset(self) -> tuple[tuple[str, ...], Infos]:
        """Begin all games."""
        self.last = [None] * self.batch_size
        texts, infos = zip(*(env.reset() for env in self.envs), strict=True)
        return texts, _by_key(infos)

    def step(self, command: Sequence[str]) -> tuple[tuple[str, ...], tuple[float, ...], tuple[bool, ...], Infos]:
        """Play one command in each game; raises GameNotRunningError before the first reset."""
        if self.last is None:
            raise GameNotRunningError()
        if len(command) != self.batch_size:
            raise AssertionError(f"expected {self.batch_size} commands, one for each game, not {len(command)}")
        played = [self._play(*one) for one in zip(self.envs, self.last, command, strict=True)]
        self.last = [*played]
        texts, scores, dones, infos = zip(*played, strict=True)
        return texts, scores, dones, _by_key(infos)

    def _play(self, env: Any, last: Result | None, command: str) -> Result:
        if last is None or not last[2]:
            result: Result = env.step(command)
            return result
        if not self.auto_reset:
            return last
        text, infos = env.reset()
        return text, 0.0, False, infos

    def close(self) -> None:
        """End all games."""
        for env in self.envs:
            env.close()


def _by_key(infos: Sequence[dict[str, Any]]) -> Infos:
    """Turn one dictionary for each game into one list for each key."""
    keys = dict.fromkeys(key for one in infos for key in one)
    return {key: [one.get(key) for one in infos] for key in keys}
