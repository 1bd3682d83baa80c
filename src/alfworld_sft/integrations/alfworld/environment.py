"""What does `get_environment("AlfredTWEnv")` give? A split's games, chosen by a config, and an environment of them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from alfworld_sft.errors import UserError
from alfworld_sft.games.index import MOVABLE_OR_SLICED, UNCHECKED, UNSOLVABLE, IndexEntry, index_folder
from alfworld_sft.games.layout import GAME_FILE, TRAJ_FILE, has_no_text_game, name_data_dir
from alfworld_sft.integrations.alfworld import gym
from alfworld_sft.integrations.alfworld.alfred import AlfredDemangler, AlfredExpert, AlfredInfos
from alfworld_sft.integrations.alfworld.core import EnvInfos, UncoveredError
from alfworld_sft.types import TASK_TYPES as ALL_TASK_TYPES

logger = logging.getLogger(__name__)

TASK_TYPES = dict(enumerate(ALL_TASK_TYPES, start=1))
"""The task types by the numbers that `env.task_types` has for them."""
_DATA_KEYS = {
    "train": ("data_path", "num_train_games"),
    "eval_in_distribution": ("eval_id_data_path", "num_eval_games"),
    "eval_out_of_distribution": ("eval_ood_data_path", "num_eval_games"),
}
_LIMIT_SECTIONS = {"dqn": "rl", "dagger": "dagger"}
_QUIETLY_SKIPPED = (MOVABLE_OR_SLICED, UNSOLVABLE, UNCHECKED)
_UNCOVERED = {
    "AlfredThorEnv": "it shows AI2-THOR's rooms",
    "AlfredHybrid": "half of it shows AI2-THOR's rooms",
}


def get_environment(env_type: str) -> type[AlfredTWEnv]:
    """Return the environment's class; raises UncoveredError for those with images, NotImplementedError for others."""
    if env_type == "AlfredTWEnv":
        return AlfredTWEnv
    if env_type in _UNCOVERED:
        raise UncoveredError(
            f"{env_type} is not covered: {_UNCOVERED[env_type]}, which needs the real alfworld; AlfredTWEnv plays text"
        )
    raise NotImplementedError(f"Environment {env_type} is not implemented.")


class AlfredTWEnv:
    """The text games of a split. `game_files` are in the order of the folders on disk, as the reference has them."""

    def __init__(self, config: Mapping[str, Any], train_eval: str = "train") -> None:
        """Raises UserError for a config that lacks something, and for data without games."""
        self.config = config
        self.train_eval = train_eval
        if _value(config, "env.goal_desc_human_anns_prob", 0) > 0:
            logger.warning("env.goal_desc_human_anns_prob is ignored: the task's words are those in the game files")
        self.collect_game_files()

    def collect_game_files(self, verbose: bool = False) -> None:
        """Find the split's games of the config's task types."""
        data_key, count_key = _data_keys(self.train_eval)
        name_data_dir()  # the real alfworld does when it is imported
        folder = Path(os.path.expandvars(str(_value(self.config, f"dataset.{data_key}")))).expanduser()
        task_types = [TASK_TYPES[number] for number in _task_numbers(self.config)]
        if not folder.is_dir():
            raise UserError(f"dataset.{data_key} is {folder}, which is no folder; does $ALFWORLD_DATA name your data?")
        found = list(_game_files(folder, task_types, verbose=verbose))
        if not found:
            raise UserError(f"dataset.{data_key} is {folder}, which has no games of the types {', '.join(task_types)}")
        count = int(_value(self.config, f"dataset.{count_key}", -1))
        self.game_files: list[str] = found[:count] if count > 0 else found
        self.num_games = len(self.game_files)
        logger.info("%d games in %s", self.num_games, self.train_eval)

    def get_game_logic(self) -> None:
        """Read the config's domain and grammar into `game_logic`."""
        self.game_logic = {
            key: Path(os.path.expandvars(str(_value(self.config, f"logic.{name}")))).read_text("utf-8")
            for key, name in (("pddl_domain", "domain"), ("grammar", "grammar"))
        }

    def init_env(self, batch_size: int) -> gym.TextworldBatchGymEnv:
        """Return an environment that plays `batch_size` of the games at a time."""
        method = str(_value(self.config, "general.training_method"))
        if method not in _LIMIT_SECTIONS:
            raise UserError(f"general.training_method is {method!r}; there are {' and '.join(_LIMIT_SECTIONS)}")
        is_train = self.train_eval == "train"
        shuffle = is_train and bool(_value(self.config, "env.domain_randomization"))
        wrappers: list[Any] = [AlfredDemangler(shuffle=shuffle), AlfredInfos]
        infos = EnvInfos(won=True, admissible_commands=True, extras=["gamefile"])
        if is_train and method == "dagger":
            wrappers.append(AlfredExpert(expert_type=str(_value(self.config, "env.expert_type"))))
            infos.extras.append("expert_plan")
        env_id = gym.register_games(
            self.game_files,
            infos,
            batch_size=batch_size,
            max_episode_steps=_value(self.config, f"{_LIMIT_SECTIONS[method]}.training.max_nb_steps_per_episode"),
            wrappers=wrappers,
        )
        env: gym.TextworldBatchGymEnv = gym.make(env_id)
        return env


_REQUIRED = object()


def _value(config: Mapping[str, Any], key: str, default: Any = _REQUIRED) -> Any:
    """Return the config's value of a dotted key; raises UserError where there is none and no default."""
    value: Any = config
    for name in key.split("."):
        if not isinstance(value, Mapping) or name not in value:
            if default is _REQUIRED:
                raise UserError(f"the config lacks {key}; ALFWorld's base_config.yaml has it")
            return default
        value = value[name]
    return value


def _data_keys(train_eval: str) -> tuple[str, str]:
    if train_eval not in _DATA_KEYS:
        raise UserError(f"train_eval is {train_eval!r}; there are {', '.join(_DATA_KEYS)}")
    return _DATA_KEYS[train_eval]


def _task_numbers(config: Mapping[str, Any]) -> list[int]:
    """Return the numbers of the task types; unknown ones are passed over, as by the reference."""
    numbers = [number for number in _value(config, "env.task_types") if number in TASK_TYPES]
    if not numbers:
        raise UserError("env.task_types names no task type; the numbers are 1 to 6")
    return numbers


def _game_files(folder: Path, task_types: Sequence[str], *, verbose: bool) -> Iterator[str]:
    """Yield the playable games of these task types in the order of `os.walk` from the bottom up."""
    index = {entry.path: entry for entry in index_folder(folder).entries}
    for root, _, names in os.walk(folder, topdown=False):
        if TRAJ_FILE not in names:
            continue
        file = os.path.join(root, GAME_FILE)  # noqa: PTH118 (the path is reported as os.walk writes it)
        entry = index.get(Path(file).relative_to(folder).as_posix())
        problem = _why_not(entry, root, task_types)
        if problem is None:
            yield file
        elif verbose or (entry and entry.problem and entry.problem not in _QUIETLY_SKIPPED):
            logger.warning("skipped %s: %s", file, problem)


def _why_not(entry: IndexEntry | None, root: str, task_types: Sequence[str]) -> str | None:
    """Return why a trial's folder gives no game; None where it does."""
    if has_no_text_game(root):
        return MOVABLE_OR_SLICED
    if entry is None:
        return f"it lacks a {GAME_FILE}"
    if entry.problem is None and entry.task_type not in task_types:
        return f"its task type is {entry.task_type}"
    return entry.problem
