"""Gymnasium's own checks, and our vector environment beside its `SyncVectorEnv`, step by step."""

import math
import pickle
import warnings
from random import Random
from typing import Any

import pytest

from alfworld_sft.errors import UserError
from alfworld_sft.games import find_games
from alfworld_sft.world import Env
from alfworld_sft.world.plan import shortest_plan

gymnasium = pytest.importorskip("gymnasium", reason="the extra gymnasium is not installed")

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from alfworld_sft.integrations.gymnasium import ALFWorldEnv, ALFWorldVectorEnv

ID = "alfworld_sft.integrations.gymnasium:ALFWorld-v0"
GAMES = {"source": "embedded", "split": "valid_seen"}


def test_gymnasiums_checker_is_content():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(ID, **GAMES, with_distance=True)
        check_env(env.unwrapped)


def test_64_games_give_our_rewards_texts_and_commands():
    env = gymnasium.make(ID, **GAMES)
    rng = Random(0)
    for number, ref in enumerate(find_games("embedded", "valid_seen")):
        ours = Env(ref.load(), max_steps=50)
        text, info = env.reset(options={"game": number})
        seen = ours.reset()
        assert (text, info["admissible_commands"]) == (seen.text, seen.admissible_commands)
        assert (info["game"], info["task"], info["task_type"]) == (ref.id, ours.game.task, ours.game.task_type)
        plan = list(shortest_plan(ours.game)) if number % 2 else []
        while not seen.over:
            command = plan.pop(0) if plan else rng.choice(seen.admissible_commands)
            seen = ours.step(command)
            text, reward, terminated, truncated, info = env.step(command)
            assert (text, reward, terminated) == (seen.text, float(seen.won), seen.terminated)
            assert (truncated, info["admissible_commands"]) == (ours.steps == 50, seen.admissible_commands)
        assert not number % 2 or terminated


def test_the_seed_decides_the_games():
    one, two = gymnasium.make(ID, **GAMES), gymnasium.make(ID, **GAMES)
    drawn = [[env.reset(seed=7)[1]["game"], *(env.reset()[1]["game"] for _ in range(9))] for env in (one, two)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 5
    assert one.reset(seed=8)[1]["game"] != drawn[0][0]


def test_the_distance_is_infinite_where_the_game_is_lost(monkeypatch: pytest.MonkeyPatch):
    env = ALFWorldEnv(**GAMES, with_distance=True)
    _, info = env.reset(options={"game": 0})
    assert info["distance"] == len(shortest_plan(env.games.load(0)))
    monkeypatch.setattr(Env, "distance", lambda self: None)
    assert env.step("look")[4]["distance"] == math.inf


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("with_distance", [False, True])
def test_our_vector_environment_equals_gymnasiums(mode: AutoresetMode, with_distance: bool):
    more = {**GAMES, "max_episode_steps": 6, "with_distance": with_distance}
    ours = gymnasium.make_vec(ID, num_envs=5, autoreset_mode=mode, **more)
    sync = gymnasium.make_vec(ID, num_envs=5, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **more)
    assert (type(ours), type(sync)) == (ALFWorldVectorEnv, SyncVectorEnv)
    assert ours.metadata["autoreset_mode"] is sync.metadata["autoreset_mode"] is mode
    assert (ours.observation_space, ours.action_space) == (sync.observation_space, sync.action_space)
    rng, ended = Random(0), 0
    check_equal(ours.reset(seed=3), sync.reset(seed=3))
    for _ in range(40):
        actions = [command_for(env, rng) for env in ours.envs]
        seen = ours.step(actions)
        check_equal(seen, sync.step(actions))
        over = seen[2] | seen[3]
        ended += int(over.sum())
        if mode is AutoresetMode.DISABLED and over.any():
            check_equal(
                ours.reset(options={"reset_mask": over.copy()}), sync.reset(options={"reset_mask": over.copy()})
            )
    check_equal(ours.reset(seed=[4, None, 5, 6, 4]), sync.reset(seed=[4, None, 5, 6, 4]))
    assert ended > 20
    ours.close()


def command_for(env: ALFWorldEnv, rng: Random) -> str:
    """Mostly the next command of a plan, else one that does not help."""
    assert env._env is not None
    plan = shortest_plan(env._env.game, env._env.game_state) or ("look",)
    return plan[0] if rng.random() < 0.8 else rng.choice(["inventory", "fly"])


def check_equal(one: Any, other: Any) -> None:
    """Equal in value and in kind, whatever the nesting."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            check_equal(one[key], other[key])
    elif isinstance(one, tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            check_equal(*pair)
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tolist() == other.tolist()
    else:
        assert one == other


def test_a_game_for_each_environment():
    env = gymnasium.make_vec(ID, num_envs=3, **GAMES)
    ids = [ref.id for ref in find_games("embedded", "valid_seen")]
    assert env.reset(options={"games": [2, ids[7], 2]})[1]["game"].tolist() == [ids[2], ids[7], ids[2]]
    assert env.reset(options={"game": 4})[1]["game"].tolist() == [ids[4]] * 3


def test_async_processes_play_the_same():
    more = {**GAMES, "num_envs": 2, "max_episode_steps": 3}
    env = gymnasium.make_vec(ID, vectorization_mode="async", vector_kwargs={"shared_memory": False}, **more)
    try:
        ours = gymnasium.make_vec(ID, **more)
        check_equal(env.reset(seed=1), ours.reset(seed=1))
        for _ in range(5):
            check_equal(env.step(("look", "inventory")), ours.step(("look", "inventory")))
    finally:
        env.close()


def test_the_step_limit_can_be_lifted():
    env = gymnasium.make_vec(ID, max_episode_steps=-1, **GAMES)
    env.reset(options={"game": 0})
    for _ in range(60):
        assert not env.step(("look",))[3].any()


def test_no_step_limit_is_named_where_the_registered_one_is_meant():
    """As for `gymnasium.make` and `SyncVectorEnv`."""
    env = gymnasium.make_vec(ID, max_episode_steps=None, **GAMES)
    env.reset(options={"game": 0})
    assert [env.step(("look",))[3].any() for _ in range(50)] == [False] * 49 + [True]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ({"num_envs": 0}, "num_envs must be at least 1, not 0"),
        ({"max_episode_steps": 0}, "max_episode_steps must be at least 1, or -1 for no limit, not 0"),
        ({"max_episode_steps": "9"}, "max_episode_steps must be at least 1, or -1 for no limit, not '9'"),
        (
            {"autoreset_mode": "sometimes"},
            "unknown autoreset_mode 'sometimes'; there are 'NextStep', 'SameStep', 'Disabled'",
        ),
    ],
)
def test_arguments_that_cannot_be_are_refused(make: dict[str, Any], message: str):
    with pytest.raises(UserError) as caught:
        ALFWorldVectorEnv(**GAMES, **make)
    assert str(caught.value) == message


def test_options_and_actions_that_cannot_be_are_refused():
    env = ALFWorldEnv(**GAMES)
    with pytest.raises(ResetNeeded, match=r"call reset\(\) first"):
        env.step("look")
    with pytest.raises(UserError, match="unknown option 'gmae' of reset; there is 'game', a game's number or id"):
        env.reset(options={"gmae": 1})
    env.reset(options={"game": 0})
    with pytest.raises(UserError, match="an action is the text of a command, not NoneType"):
        env.step(None)
    assert env.step("x" * 10_000_000)[0] == "Nothing happens."
    for command in shortest_plan(env.games.load(0)):
        env.step(command)
    with pytest.raises(ResetNeeded, match=r"call reset\(\) after the game is won"):
        env.step("look")


def test_a_vector_environment_refuses_before_anything_changed():
    env = ALFWorldVectorEnv(2, 2, AutoresetMode.DISABLED, **GAMES)
    with pytest.raises(ResetNeeded, match="first"):
        env.step(("look", "look"))
    env.reset(options={"games": [0, 1]})
    for actions, message in [
        (("look",), "actions must be 2, one for each environment, not 1"),
        ("ab", "actions must be 2, one for each environment, not a text"),
        (("go", None), "an action is the text of a command, not NoneType"),
    ]:
        with pytest.raises(UserError, match=message):
            env.step(actions)
    assert env._steps == [0, 0]
    for mask in ([True, False], np.zeros(2, dtype=bool), np.ones(3, dtype=bool)):
        with pytest.raises(UserError, match=r"options\['reset_mask'\] must"):
            env.reset(options={"reset_mask": mask})
    for _ in range(2):
        env.step(("look", "look"))
    with pytest.raises(ResetNeeded, match="the game of environment 0 is over"):
        env.step(("look", "look"))


def test_environments_can_be_pickled():
    env = ALFWorldEnv(**GAMES)
    env.reset(seed=1)
    twin = pickle.loads(pickle.dumps(env))
    assert twin.step("look")[0] == env.step("look")[0]
