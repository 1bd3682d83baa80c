"""SkyRL-Gym's `make` plays the game of a row."""

import json
from random import Random
from typing import Any

import pytest

from alfworld_sft.errors import DatasetError, UserError
from alfworld_sft.games import find_games
from alfworld_sft.prompts.tags import compose_reply
from alfworld_sft.world import Env
from alfworld_sft.world.plan import shortest_plan
from tests.integrations.documented import run_example

skyrl_gym = pytest.importorskip("skyrl_gym", reason="the extra skyrl-gym is not installed")

import numpy as np
from omegaconf import OmegaConf

from alfworld_sft.integrations.skyrl_gym import ID, ALFWorldEnv

GAMES: dict[str, Any] = {"source": "embedded", "split": "valid_seen"}


def reply(command: str) -> str:
    """What a model says to play a command."""
    return compose_reply(("think", "action"), {"think": "…", "action": command})


def test_64_games_give_our_rewards():
    rng = Random(0)
    for number, ref in enumerate(find_games("embedded", "valid_seen")):
        env = skyrl_gym.make(ID, env_config=OmegaConf.create(GAMES), extras={"game": number, "max_turns": 20})
        ours = Env(ref.load(), max_steps=20)
        messages, info = env.init([])
        seen = ours.reset()
        assert [message["role"] for message in messages] == ["user"]
        assert info == {"game": ref.id, "task": ours.game.task, "task_type": ours.game.task_type}
        plan = list(shortest_plan(ours.game)) if number % 2 else []
        while not seen.over:
            command = plan.pop(0) if plan else rng.choice(seen.admissible_commands)
            out, seen = env.step(reply(command)), ours.step(command)
            assert (out["reward"], out["done"]) == (float(seen.won), seen.over)
            assert out["metadata"] == {"won": seen.won, "command": command, "problem": None}
            assert [seen.text in message["content"] for message in out["observations"]] == ([] if seen.over else [True])
        assert env.get_metrics() == {"success": float(seen.won), "turns": float(ours.steps), "invalid_turns": 0.0}
        assert seen.won or not number % 2
        with pytest.raises(RuntimeError, match="the episode is over"):
            env.step(reply("look"))


def test_a_system_message_stays_and_other_messages_of_the_row_give_way():
    env = ALFWorldEnv(GAMES, {"game": 0})
    system = {"role": "system", "content": "You are brief."}
    messages, _ = env.init([system, {"role": "user", "content": "placeholder"}])
    assert messages[0] == system
    assert [message["role"] for message in messages] == ["system", "user"]
    assert env._conversation.game.task in messages[1]["content"]


def test_a_templates_system_message_comes_once():
    env = ALFWorldEnv({**GAMES, "template": "trinity"}, {"game": 0})
    first, _ = env.init([])
    assert [message["role"] for message in first] == ["system", "user"]
    assert env.init(first)[0] == first


@pytest.mark.parametrize(
    "row",
    [
        lambda name: {"game": name},
        lambda name: {"game": np.int64(7), "max_turns": np.int64(9)},
        lambda name: {"game_id": name},
        lambda name: {"extra_info": {"game_id": name}},
        lambda name: {"extra_info": json.dumps({"game_id": name})},
    ],
)
def test_a_row_names_its_game_also_as_our_datasets_do(row: Any):
    name = find_games("embedded", "valid_seen").refs[7].id
    assert ALFWorldEnv(GAMES, row(name)).init([])[1]["game"] == name


def test_metrics_count_replies_without_an_admissible_command():
    env = ALFWorldEnv({**GAMES, "max_turns": 3}, {"game": 0})
    for said in ("go", reply("fly"), reply("look")):
        done = env.step(said)["done"]
    assert done
    metrics = env.get_metrics()
    assert metrics == {"success": 0.0, "turns": 3.0, "invalid_turns": 2.0}
    assert ALFWorldEnv.aggregate_metrics([metrics, {**metrics, "success": 1.0}])["success"] == 0.5


@pytest.mark.parametrize(
    ("config", "row", "message"),
    [
        ({"splt": "train"}, {"game": 0}, "unknown key 'splt' of env_config; there are source, split, "),
        ({}, {}, "the row names no game; give it a column 'game' with a game's number or id"),
        ({}, {"game": 512}, "no game 512 among 512 embedded train games"),
        ({"max_turns": "many"}, {"game": 0}, "max_turns must be a number of at least 1, not 'many'"),
        ({}, {"game": 0, "max_turns": 0}, "max_turns must be a number of at least 1, not 0"),
        ({"split": "test"}, {"game": 0}, "test"),
    ],
)
def test_what_cannot_be_is_refused(config: dict[str, Any], row: dict[str, Any], message: str):
    with pytest.raises(UserError) as caught:
        ALFWorldEnv({"source": "embedded", **config}, row)
    assert message in str(caught.value)


def test_an_unreadable_extra_info_is_refused():
    with pytest.raises(DatasetError, match=r"^the row: extra_info is '{broken'"):
        ALFWorldEnv(GAMES, {"extra_info": "{broken"})


def test_the_documented_example_plays_a_turn(monkeypatch):
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    result = run_example("import alfworld_sft.integrations.skyrl_gym")["result"]
    assert (result["done"], result["metadata"]) == (False, {"won": False, "command": "look", "problem": None})
