"""How does verl-agent train and validate on our world? `build_alfworld_envs` in place of its own, without Ray.

    from alfworld_sft.integrations.verl_agent import build_alfworld_envs

The environments are those of verl-agent's `env_package/alfworld/envs.py`: environment i shuffles the split's games with
the seed `seed + i // group_n` and plays them in that order, so a group plays the same games and numbers stay what they
were. All of them play in this process, one after another: there is nothing to start and nothing that can die.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alfworld_sft.errors import UserError
from alfworld_sft.integrations.alfworld.config import read_yaml
from alfworld_sft.integrations.alfworld.environment import AlfredTWEnv, get_environment
from alfworld_sft.integrations.alfworld.gym import TextworldBatchGymEnv

REWARD_FOR_WINNING = 10.0
DEFAULT_SPLIT = "eval_in_distribution"
"""What is validated on unless `env_kwargs` names another split as "eval_dataset"."""

Info = dict[str, Any]


def build_alfworld_envs(
    alf_config_path: str | Path,
    seed: int,
    env_num: int,
    group_n: int,
    resources_per_worker: Mapping[str, Any] | None = None,
    is_train: bool = True,
    env_kwargs: Mapping[str, Any] | None = None,
    full_panel: bool = False,
) -> AlfworldEnvs:
    """Return `env_num * group_n` environments, `group_n` in a row for each game.

    `full_panel` deals the split's games out in the order of their paths, so that resets together play every game once:
    environment i plays games i, i + n, i + 2n, … Nobody draws, so the seed has no effect, and one reset with as many
    environments as games plays the whole split. `resources_per_worker` is for Ray and has no effect.

    Raises UserError for a config or data that cannot be played, and for more environments than `full_panel` has games.
    """
    return AlfworldEnvs(
        alf_config_path,
        seed,
        env_num,
        group_n,
        resources_per_worker,
        is_train=is_train,
        env_kwargs=env_kwargs,
        full_panel=full_panel,
    )


class AlfworldEnvs:
    """Many environments that are reset and stepped together, each to the step limit whether it is done or not."""

    def __init__(
        self,
        alf_config_path: str | Path,
        seed: int,
        env_num: int,
        group_n: int,
        resources_per_worker: Mapping[str, Any] | None = None,
        is_train: bool = True,
        env_kwargs: Mapping[str, Any] | None = None,
        full_panel: bool = False,
    ) -> None:
        del resources_per_worker
        if env_num < 1 or group_n < 1:
            raise UserError(f"env_num and group_n must be at least 1, not {env_num} and {group_n}")
        base = _base_env(alf_config_path, is_train=is_train, env_kwargs=env_kwargs or {})
        self.env_num, self.group_n = env_num, group_n
        self.num_processes = env_num * group_n
        self.multi_modal = False
        self.game_files = base.game_files
        self.envs = _panel(base, env_num, group_n) if full_panel else _drawing(base, seed, env_num, group_n)
        self._admissible: list[list[str]] = [[] for _ in self.envs]

    def reset(self) -> tuple[list[str], None, list[Info]]:
        """Begin the next game of each environment; returns (texts, None for no images, infos)."""
        texts, infos = [], []
        for env in self.envs:
            text, info = env.reset()
            texts.append(text[0])
            infos.append(_unbatched(info, text))
        self._keep_admissible(infos)
        return texts, None, infos

    def step(self, actions: Sequence[str]) -> tuple[list[str], None, list[float], list[bool], list[Info]]:
        """Play one command in each; returns (texts, None, rewards, dones, infos). A reward is 10 where won, else 0.

        Raises UserError for another number of commands than environments.
        """
        if len(actions) != len(self.envs):
            raise UserError(f"{len(self.envs)} environments need as many actions, not {len(actions)}")
        texts, rewards, dones, infos = [], [], [], []
        for env, action in zip(self.envs, actions, strict=True):
            text, _, done, info = env.step([action])
            texts.append(text[0])
            dones.append(done[0])
            infos.append(_unbatched(info, text))
            rewards.append(REWARD_FOR_WINNING * float(infos[-1]["won"]))
        self._keep_admissible(infos)
        return texts, None, rewards, dones, infos

    @property
    def get_admissible_commands(self) -> list[list[str]]:
        """What can be done now in each environment."""
        return self._admissible

    def close(self) -> None:
        """End all games."""
        for env in self.envs:
            env.close()

    def _keep_admissible(self, infos: list[Info]) -> None:
        self._admissible = [info["admissible_commands"] for info in infos]


def _base_env(alf_config_path: str | Path, *, is_train: bool, env_kwargs: Mapping[str, Any]) -> AlfredTWEnv:
    config = read_yaml(Path(os.path.expandvars(alf_config_path)))
    env_type = config["env"].get("type", "AlfredTWEnv") if isinstance(config.get("env"), dict) else "AlfredTWEnv"
    split = "train" if is_train else env_kwargs.get("eval_dataset", DEFAULT_SPLIT)
    return get_environment(env_type)(config, train_eval=split)


def _drawing(base: AlfredTWEnv, seed: int, env_num: int, group_n: int) -> list[TextworldBatchGymEnv]:
    """Return environments that each draw their own order of all games, one order for a group."""
    envs = [base.init_env(batch_size=1) for _ in range(env_num * group_n)]
    for i, env in enumerate(envs):
        env.seed(seed + i // group_n)
    return envs


def _panel(base: AlfredTWEnv, env_num: int, group_n: int) -> list[TextworldBatchGymEnv]:
    """Return environments that share the games out in the order of their paths."""
    games = sorted(base.game_files)
    if env_num > len(games):
        raise UserError(f"full_panel has {len(games)} games for {env_num} environments; give env_num={len(games)}")
    envs = []
    for i in range(env_num * group_n):
        env = base.init_env(batch_size=1)
        env.play_in_order(games[i // group_n :: env_num])
        envs.append(env)
    return envs


def _unbatched(infos: Mapping[str, Sequence[Any]], texts: Sequence[str]) -> Info:
    """Return the single values, and the text among them, as verl-agent does."""
    return {key: values[0] for key, values in infos.items()} | {"observation_text": texts[0]}
