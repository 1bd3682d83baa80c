"""How does SkyRL-Gym play our games? An environment for `env_class: alfworld`.

    import alfworld_sft.integrations.skyrl_gym
    skyrl_gym.make("alfworld", env_config={"split": "valid_seen"}, extras={"game": 0})

Written for skyrl-gym 0.4. A row of the dataset names its game; the environment words the messages and reads the replies
by one of our templates. The reward is 1.0 on the turn that wins, else 0.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, SupportsIndex

import skyrl_gym
from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput
from skyrl_gym.envs.registration import registry

from alfworld_sft.dataset.extra_info import EXTRA_INFO, parse_extra_info
from alfworld_sft.errors import UserError
from alfworld_sft.integrations.conversation import Conversation
from alfworld_sft.integrations.pool import shared_pool
from alfworld_sft.prompts.template import load_template
from alfworld_sft.types import MAX_STEPS, Message

ID = "alfworld"
_DEFAULTS: Mapping[str, Any] = {
    "source": None,
    "split": "train",
    "task_types": None,
    "games_seed": 0,
    "template": "default",
    "max_turns": MAX_STEPS,
}
_GAME_KEYS = ("game", "game_id")


class ALFWorldEnv(BaseTextEnv):  # type: ignore[misc, unused-ignore]
    """One episode of the game that its row names.

    `env_config` may have the keys `source`, `split`, `task_types` and `games_seed`, see `GamePool`, `template` and
    `max_turns`. `extras` is the row: `game` or `game_id`, in it or in its `extra_info`, is the game's number or id;
    `max_turns` there comes before that of the config. Raises UserError for other keys of the config, and for a row
    without a game.
    """

    def __init__(self, env_config: Mapping[str, Any] | None = None, extras: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        config, row = _read_config(env_config), extras or {}
        games = shared_pool(config["source"], config["split"], config["task_types"], config["games_seed"])
        self.max_turns = _read_max_turns(row.get("max_turns", config["max_turns"]))
        self._conversation = Conversation(games.load(_game_of(row)), load_template(config["template"]), self.max_turns)
        self._won = False
        self._invalid = 0

    def init(self, prompt: Sequence[Mapping[str, str]]) -> tuple[list[dict[str, str]], dict[str, Any]]:
        """Return the row's system messages and the template's, then the game's opening in place of all others."""
        system = [dict(message) for message in prompt or () if message.get("role") == "system"]
        system += [said for said in map(_message, self._conversation.opening) if said not in system]
        return [*system, _user(self._conversation.message)], self._conversation.info

    def step(self, action: str) -> BaseTextEnvStepOutput:
        """Play the action of a reply; there is no further message at the end. Raises RuntimeError after it."""
        turn = self._conversation.answer(action)
        self.turns += 1
        self._won = turn.terminated
        self._invalid += turn.problem is not None
        return BaseTextEnvStepOutput(
            observations=[] if turn.over else [_user(turn.message)],
            reward=turn.reward,
            done=turn.over,
            metadata=turn.info,
        )

    def get_metrics(self) -> dict[str, float]:
        """Return success, turns, and the turns whose reply held no admissible command."""
        return {"success": float(self._won), "turns": float(self.turns), "invalid_turns": float(self._invalid)}


def _user(text: str) -> dict[str, str]:
    return _message(Message("user", text))


def _message(message: Message) -> dict[str, str]:
    return {"role": message.role, "content": message.content}


def _read_config(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the config with our defaults; OmegaConf's are mappings to read, not by type."""
    config = dict(given.items()) if given is not None else {}
    if unknown := sorted(map(str, config.keys() - _DEFAULTS.keys())):
        raise UserError(f"unknown key {unknown[0]!r} of env_config; there are {', '.join(_DEFAULTS)}")
    return {**_DEFAULTS, **config}


def _read_max_turns(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, SupportsIndex) or value.__index__() < 1:
        raise UserError(f"max_turns must be a number of at least 1, not {value!r}")
    return value.__index__()  # numpy's too, as rows have them


def _game_of(row: Mapping[str, Any]) -> int | str:
    """Return the number or id of the game that a row names."""
    for place in (row, parse_extra_info(row.get(EXTRA_INFO), "the row")):
        for key in _GAME_KEYS:
            if place.get(key) is not None:
                game: int | str = place[key]
                return game
    raise UserError("the row names no game; give it a column 'game' with a game's number or id")


if ID not in registry:
    skyrl_gym.register(id=ID, entry_point=f"{__name__}:ALFWorldEnv")
