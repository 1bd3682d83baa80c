"""How does a program register games and make an environment of them? `textworld.gym`'s functions and environments."""

from __future__ import annotations

import copy
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import StringIO
from itertools import cycle
from typing import Any

from alfworld_sft.errors import UserError
from alfworld_sft.integrations.alfworld.batch import BatchEnv, Infos
from alfworld_sft.integrations.alfworld.core import EnvInfos, GameNotRunningError
from alfworld_sft.integrations.alfworld.wrappers import Filter, GenericEnvironment, Limit
from alfworld_sft.integrations.shuffling import LegacyShuffler, shuffled_cycle

FIRST_SEED = 1234
"""The seed of an environment that was given none."""

registry: dict[str, dict[str, Any]] = {}
"""What was registered, by the environment's id."""


def register_games(
    gamefiles: Sequence[str],
    request_infos: EnvInfos | None = None,
    batch_size: int | None = None,
    auto_reset: bool = False,
    max_episode_steps: int | None = 50,
    asynchronous: bool = True,
    name: str = "",
    **kwargs: Any,
) -> str:
    """Register an environment that goes through these games; returns its id, for `make`.

    Without `batch_size` it plays one game and takes and gives single values; with one it takes and gives lists.
    """
    stem = f"tw-{name}-v" if name else "tw-v"
    taken = [int(env_id.rsplit("-v", 1)[-1]) for env_id in registry if env_id.startswith(stem)]
    env_id = f"{stem}{max(taken) + 1 if taken else 0}"
    registry[env_id] = {
        "id": env_id,
        "entry_point": TextworldGymEnv if batch_size is None else TextworldBatchGymEnv,
        "kwargs": {
            "gamefiles": gamefiles,
            "request_infos": request_infos,
            "batch_size": 1 if batch_size is None else batch_size,
            "asynchronous": asynchronous,
            "auto_reset": auto_reset,
            "max_episode_steps": max_episode_steps,
            **kwargs,
        },
    }
    return env_id


def register_game(
    gamefile: str,
    request_infos: EnvInfos | None = None,
    batch_size: int | None = None,
    auto_reset: bool = False,
    *args: Any,
    **kwargs: Any,
) -> str:
    """Register an environment that plays one game; as `register_games`, but `auto_reset` has no effect, as there."""
    del auto_reset
    return register_games([gamefile], request_infos, batch_size, False, *args, **kwargs)


def make(id: str) -> Any:  # noqa: A002 (textworld's name)
    """Make a registered environment; raises ValueError for an unknown id."""
    if id not in registry:
        raise ValueError(f"Attempted to make an unknown environment '{id}'")
    found = registry[id]
    return found["entry_point"](**found["kwargs"])


class TextworldBatchGymEnv:
    """Goes through games in an order drawn by `seed`, `batch_size` at a time."""

    def __init__(
        self,
        gamefiles: Sequence[str],
        request_infos: EnvInfos | None = None,
        batch_size: int = 1,
        asynchronous: bool = True,
        auto_reset: bool = False,
        max_episode_steps: int | None = None,
        wrappers: Sequence[Any] = (),
    ) -> None:
        del asynchronous  # there is nothing to wait for
        self.gamefiles = gamefiles
        self.batch_size = batch_size
        self.request_infos = request_infos or EnvInfos()
        self.last_commands: Sequence[str | None] = [None] * batch_size
        self.obs: tuple[str, ...] = ()
        self.seed(FIRST_SEED)
        makers = [self._maker(max_episode_steps, wrappers) for _ in range(batch_size)]
        self.batch_env: BatchEnv | None = BatchEnv(makers, auto_reset)

    def _maker(self, max_episode_steps: int | None, wrappers: Sequence[Any]) -> Callable[[], Any]:
        """Return a function that makes one game's environment.

        Several games share neither a wrapper nor what was asked for, as the reference's processes do not.
        """
        if self.batch_size == 1:
            return partial(_make_env, self.request_infos, max_episode_steps, wrappers)
        return lambda: _make_env(self.request_infos.copy(), max_episode_steps, [*map(_own, wrappers)])

    def seed(self, seed: Any = None) -> list[Any]:
        """Draw another order of the games, and begin it: that of `numpy.random.RandomState(seed).shuffle`."""
        rng = LegacyShuffler(seed)
        gamefiles = list(self.gamefiles)
        rng.shuffle(gamefiles)
        self._gamefiles_iterator: Iterator[str] = shuffled_cycle(gamefiles, rng=rng)
        return [seed]

    def play_in_order(self, gamefiles: Sequence[str]) -> None:
        """Play these games from now on, again and again in this order."""
        self._gamefiles_iterator = cycle(gamefiles)

    def skip(self, nb_games: int = 1) -> None:
        """Leave out the next games."""
        for _ in range(nb_games):
            self._next_game()

    def reset(self) -> Any:
        """Begin the next games; returns (texts, infos), where infos has a list of values for each key."""
        batch = self._open_batch()
        batch.load([self._next_game() for _ in range(self.batch_size)])
        self.last_commands = [None] * self.batch_size
        self.obs, infos = batch.reset()
        return self.obs, infos

    def step(self, commands: Any) -> Any:
        """Play one command in each game; returns (texts, scores, dones, infos)."""
        if not isinstance(commands, list | tuple):
            raise AssertionError("Expected a list of commands.")
        batch = self._open_batch()
        self.last_commands = commands
        self.obs, scores, dones, infos = batch.step(commands)
        return self.obs, scores, dones, infos

    def close(self) -> None:
        """End the games; the environment cannot be used again."""
        if self.batch_env is not None:
            self.batch_env.close()
        self.batch_env = None

    def render(self, mode: str = "human") -> StringIO | str | None:
        """Write the last commands and texts to stdout; return them with mode "text", as a file with mode "ansi"."""
        rendered = "\n-----\n".join(map(partial(_rendered, mode), self.last_commands, self.obs)) + "\n"
        if mode == "text":
            return rendered
        outfile = StringIO() if mode == "ansi" else sys.stdout
        outfile.write(rendered)
        return outfile if isinstance(outfile, StringIO) else None

    def _open_batch(self) -> BatchEnv:
        if self.batch_env is None:
            raise GameNotRunningError("this environment was closed; make another one")
        return self.batch_env

    def _next_game(self) -> str:
        try:
            return next(self._gamefiles_iterator)
        except StopIteration:
            raise UserError("this environment has no games to play; give register_games at least one") from None


class TextworldGymEnv(TextworldBatchGymEnv):
    """Goes through games one at a time."""

    def __init__(
        self,
        gamefiles: Sequence[str],
        request_infos: EnvInfos | None = None,
        max_episode_steps: int | None = None,
        wrappers: Sequence[Any] = (),
        **_: Any,
    ) -> None:
        super().__init__(gamefiles, request_infos, max_episode_steps=max_episode_steps, wrappers=wrappers)

    def reset(self) -> tuple[str, dict[str, Any]]:
        """Begin the next game; returns (text, infos)."""
        texts, infos = super().reset()
        return texts[0], _first(infos)

    def step(self, commands: str) -> tuple[str, float, bool, dict[str, Any]]:
        """Play a command; returns (text, score, done, infos)."""
        texts, scores, dones, infos = super().step([commands])
        return texts[0], scores[0], dones[0], _first(infos)


class Agent:
    """Plays the games of an environment."""

    @property
    def infos_to_request(self) -> EnvInfos:
        """What the agent reads beside the text."""
        return EnvInfos()

    def act(self, obs: str, score: float, done: bool, infos: dict[str, Any]) -> str:
        """Return the next command."""
        raise NotImplementedError


def _make_env(request_infos: EnvInfos, max_episode_steps: int | None, wrappers: Sequence[Any]) -> Any:
    env: Any = GenericEnvironment(request_infos)
    if max_episode_steps:
        env = Limit(env, max_episode_steps=max_episode_steps)
    for wrapper in (*wrappers, Filter):
        env = wrapper(env)
    return env


def _own(wrapper: Any) -> Any:
    """Return a copy of a wrapper that was given as an object; a class makes objects of its own."""
    return wrapper if isinstance(wrapper, type) else copy.deepcopy(wrapper)


def _first(infos: Infos) -> dict[str, Any]:
    return {key: values[0] for key, values in infos.items()}


def _rendered(mode: str, command: str | None, text: str) -> str:
    words = text.rstrip() + "\n"
    if command is not None:
        prompt = f"> {command}" if mode == "text" else f"\x1b[33m> {command}\x1b[0m"
        words = f"{prompt}\n{words}"
    if mode != "human":
        return words
    return "\n".join("\n".join(textwrap.wrap(paragraph, width=80)) for paragraph in words.split("\n"))
