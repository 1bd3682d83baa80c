"""How does Gymnasium play our games? `ALFWorld-v0`, and a vector environment that plays many in one process.

    gymnasium.make("alfworld_sft.integrations.gymnasium:ALFWorld-v0", split="valid_seen")

Written for Gymnasium 1.4. An observation is the game's text and an action one command, which the game also answers if
it is not admissible. `info["admissible_commands"]` lists those that are. The reward is 1.0 on the step that wins, else
0.0.
"""

from __future__ import annotations

import string
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import register, registry
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Text
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from alfworld_sft.errors import UserError
from alfworld_sft.integrations.pool import GamePool, shared_pool
from alfworld_sft.types import MAX_STEPS, TaskType
from alfworld_sft.world import Env, Observation

ID = "ALFWorld-v0"
_CHARACTERS = string.printable.replace("\t", "").replace("\r", "").replace("\x0b", "").replace("\x0c", "")
_MAX_OBSERVATION_CHARS = 16_384
_MAX_COMMAND_CHARS = 80
_ENDLESS = sys.maxsize


class ALFWorldEnv(gymnasium.Env[str, str]):
    """One game at a time: a reset draws one by the seed, or plays the one that it names.

    `source`, `split`, `task_types` and `games_seed` say which games there are, see `GamePool`. `with_distance` adds
    `info["distance"]`: the length of the shortest plan, `inf` where the game can no longer be won.

    It has no step limit of its own: `gymnasium.make` adds `TimeLimit`.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's attribute)

    def __init__(
        self,
        source: str | Path | GamePool | None = None,
        split: str = "train",
        task_types: Sequence[TaskType] | None = None,
        games_seed: int = 0,
        *,
        with_distance: bool = False,
    ) -> None:
        self.games = shared_pool(source, split, task_types, games_seed)
        self.with_distance = with_distance
        self.observation_space = Text(_MAX_OBSERVATION_CHARS, charset=_CHARACTERS)
        self.action_space = Text(_MAX_COMMAND_CHARS, charset=_CHARACTERS)
        self._env: Env | None = None
        self._won = False

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start a game: the one of `options={"game": NUMBER_OR_ID}`, or a random one.

        The info names the game, its task and its task type. Raises UserError for a game that there is not.
        """
        super().reset(seed=seed)
        wanted = _read_options(options)
        game = self.games.draw(self.np_random.integers) if wanted is None else self.games.load(wanted)
        self._env = Env(game, _ENDLESS, with_distance=self.with_distance)
        self._won = False
        observation = self._env.reset()
        about_game = {"game": game.id, "task": game.task, "task_type": game.task_type}
        return observation.text, about_game | _info(observation)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play one command; raises ResetNeeded before the first reset and after a win."""
        if self._env is None or self._won:
            raise ResetNeeded(f"call reset() {'after the game is won' if self._won else 'first'}")
        _check_action(action)
        observation = self._env.step(action)
        self._won = observation.won
        return observation.text, float(observation.won), observation.terminated, False, _info(observation)


class ALFWorldVectorEnv(VectorEnv[tuple[str, ...], Sequence[str], np.ndarray]):
    """Many games in one process: what `SyncVectorEnv` returns, without its cost for each environment.

    Environment i of a reset with seed s has the seed s + i. `options` are those of `ALFWorldEnv.reset` for all
    environments, `reset_mask` (a bool array) to reset only some, or `games`, which names one game for each.
    `max_episode_steps` -1 is no limit, None the registered one, as for `gymnasium.make_vec`. The other arguments are
    those of `ALFWorldEnv`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = MAX_STEPS,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        source: str | Path | GamePool | None = None,
        split: str = "train",
        task_types: Sequence[TaskType] | None = None,
        games_seed: int = 0,
        *,
        with_distance: bool = False,
    ) -> None:
        if num_envs < 1:
            raise UserError(f"num_envs must be at least 1, not {num_envs}")
        self.num_envs = num_envs
        self._limit = _step_limit(max_episode_steps)
        self.autoreset_mode = _read_autoreset_mode(autoreset_mode)
        self.metadata = ALFWorldEnv.metadata | {"autoreset_mode": self.autoreset_mode}
        games = shared_pool(source, split, task_types, games_seed)
        self.envs = [ALFWorldEnv(games, with_distance=with_distance) for _ in range(num_envs)]
        self.single_observation_space = self.envs[0].observation_space
        self.single_action_space = self.envs[0].action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._texts = [""] * num_envs
        self._steps = [0] * num_envs
        self._over = np.ones(num_envs, dtype=np.bool_)
        self._started = False

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Reset all environments, or those of the mask; the infos are those of the environments that were reset."""
        rest = dict(options or {})
        chosen = self._chosen(rest.pop("reset_mask", None))
        seeds, wanted = self._seeds(seed), self._one_each("games", rest.pop("games", None))
        infos: dict[str, Any] = {}
        for i in chosen:
            own = rest if wanted is None else {**rest, "game": wanted[i]}
            infos = self._add_info(infos, self._reset_one(i, seed=seeds[i], options=own), i)
            self._over[i] = False
        self._started = True
        return tuple(self._texts), infos

    def step(
        self, actions: Sequence[str]
    ) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Play one command in each environment; what happens after the end of a game is the autoreset mode's matter.

        Raises ResetNeeded before the first reset and, with autoreset disabled, where a game is over.
        """
        self._check_step(actions)
        rewards, terminations, truncations = ([0.0] * self.num_envs, [False] * self.num_envs, [False] * self.num_envs)
        step_infos: list[Mapping[str, Any]] = []
        infos: dict[str, Any] = {}
        for i, (env, action, over) in enumerate(zip(self.envs, actions, self._over.tolist(), strict=True)):
            if over:
                info = self._reset_one(i)
                infos = self._add_info(infos, _about_game(info), i)
            else:
                self._texts[i], rewards[i], terminations[i], _, info = env.step(action)
                self._steps[i] += 1
                truncations[i] = self._steps[i] >= self._limit
                if self.autoreset_mode is AutoresetMode.SAME_STEP and (terminations[i] or truncations[i]):
                    infos = self._add_info(infos, {"final_obs": self._texts[i], "final_info": info}, i)
                    info = self._reset_one(i)
                    infos = self._add_info(infos, _about_game(info), i)
            step_infos.append(info)
        ends = np.array(terminations), np.array(truncations)
        if self.autoreset_mode is not AutoresetMode.SAME_STEP:
            self._over = ends[0] | ends[1]
        return tuple(self._texts), np.array(rewards), *ends, infos | self._batch(step_infos)

    def _reset_one(
        self, i: int, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        self._texts[i], info = self.envs[i].reset(seed=seed, options=options)
        self._steps[i] = 0
        return info

    def _batch(self, infos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return what every environment reports at every step, as arrays with their masks."""
        everywhere = np.ones(self.num_envs, dtype=np.bool_)
        commands = np.fromiter((info["admissible_commands"] for info in infos), dtype=object, count=self.num_envs)
        batched = {"admissible_commands": commands, "_admissible_commands": everywhere}
        if "distance" in infos[0]:
            batched |= {"distance": np.array([info["distance"] for info in infos]), "_distance": everywhere.copy()}
        return batched

    def _check_step(self, actions: Sequence[str]) -> None:
        if not self._started:
            raise ResetNeeded("call reset() first")
        self._one_each("actions", actions)
        for action in actions:  # before any environment has changed
            _check_action(action)
        if self.autoreset_mode is AutoresetMode.DISABLED and self._over.any():
            raise ResetNeeded(
                f"the game of environment {int(self._over.argmax())} is over;"
                " call reset(options={'reset_mask': terminations | truncations})"
            )

    def _chosen(self, mask: object) -> Sequence[int]:
        if mask is None:
            return range(self.num_envs)
        if not isinstance(mask, np.ndarray) or mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise UserError(f"options['reset_mask'] must be a numpy array of {self.num_envs} bools")
        if not mask.any():
            raise UserError("options['reset_mask'] must reset at least one environment")
        chosen: list[int] = np.flatnonzero(mask).tolist()
        return chosen

    def _seeds(self, seed: int | Sequence[int | None] | None) -> Sequence[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, int):
            return range(seed, seed + self.num_envs)
        self._one_each("seeds", seed)
        return seed

    def _one_each(self, name: str, values: Any) -> Any:
        """Return the values if there is one for each environment, or none at all."""
        if values is not None and (isinstance(values, str) or len(values) != self.num_envs):
            given = "a text" if isinstance(values, str) else len(values)
            raise UserError(f"{name} must be {self.num_envs}, one for each environment, not {given}")
        return values


def _info(observation: Observation) -> dict[str, Any]:
    info: dict[str, Any] = {"admissible_commands": observation.admissible_commands}
    if observation.distance is None:
        info["distance"] = np.inf
    elif isinstance(observation.distance, int):
        info["distance"] = float(observation.distance)
    return info


def _about_game(info: Mapping[str, Any]) -> dict[str, Any]:
    return {key: info[key] for key in ("game", "task", "task_type")}


def _check_action(action: object) -> None:
    if not isinstance(action, str):
        raise UserError(f"an action is the text of a command, not {type(action).__name__}")


def _read_options(options: Mapping[str, Any] | None) -> int | str | None:
    """Return the game that the options of a reset ask for."""
    if unknown := sorted(map(str, (options or {}).keys() - {"game"})):
        raise UserError(f"unknown option {unknown[0]!r} of reset; there is 'game', a game's number or id")
    return (options or {}).get("game")


def _step_limit(max_episode_steps: int | None) -> int:
    if max_episode_steps is None:
        return MAX_STEPS
    if max_episode_steps == -1:
        return _ENDLESS
    if not isinstance(max_episode_steps, int) or max_episode_steps < 1:
        raise UserError(f"max_episode_steps must be at least 1, or -1 for no limit, not {max_episode_steps!r}")
    return max_episode_steps


def _read_autoreset_mode(mode: str | AutoresetMode) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError:
        known = ", ".join(repr(known.value) for known in AutoresetMode)
        raise UserError(f"unknown autoreset_mode {mode!r}; there are {known}") from None


if ID not in registry:
    register(
        ID,
        entry_point=f"{__name__}:ALFWorldEnv",
        vector_entry_point=f"{__name__}:ALFWorldVectorEnv",
        max_episode_steps=MAX_STEPS,
    )
