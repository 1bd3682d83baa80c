import pytest

from alfworld_sft.integrations.alfworld import gym
from alfworld_sft.integrations.alfworld.alfred import AlfredDemangler, AlfredExpert, AlfredExpertType
from alfworld_sft.integrations.alfworld.core import EnvInfos, GameNotRunningError, UncoveredError
from alfworld_sft.integrations.alfworld.wrappers import start
from alfworld_sft.world import load_game
from alfworld_sft.world.plan import shortest_plan


@pytest.fixture
def game_file(data):
    return str(min(data.glob("train/*/*/game.tw-pddl")))


@pytest.fixture(autouse=True)
def no_registrations(monkeypatch):
    monkeypatch.setattr(gym, "registry", {})


def test_ids_count_up(game_file):
    ids = [gym.register_game(game_file), gym.register_game(game_file), gym.register_game(game_file, name="x")]
    assert ids == ["tw-v0", "tw-v1", "tw-x-v0"]


def test_the_planner_wins(game_file):
    infos = EnvInfos(won=True, extras=["expert_plan"])
    expert = AlfredExpert(expert_type=AlfredExpertType.PLANNER)
    env = gym.make(gym.register_game(game_file, infos, wrappers=[AlfredDemangler(), expert]))
    _, found = env.reset()
    assert tuple(found["extra.expert_plan"]) == shortest_plan(load_game(game_file))
    done = False
    while not done:
        _, score, done, found = env.step(found["extra.expert_plan"][0])
    assert (score, found["won"], found["extra.expert_plan"]) == (1, True, [])


def test_a_single_environment_takes_its_step_limit_third_as_textworld_s_does(game_file):
    env = gym.TextworldGymEnv([game_file], EnvInfos(), 2)
    env.reset()
    assert [env.step("look")[2] for _ in range(2)] == [False, True]


def test_a_batch_begins_again_with_auto_reset(game_file):
    env = gym.make(gym.register_games([game_file], batch_size=1, auto_reset=True, max_episode_steps=1))
    opening, _ = env.reset()
    assert env.step(["look"])[2] == (True,)
    assert env.step(["look"])[:3] == (opening, (0.0,), (False,))


def test_names_are_the_files_ids_without_a_demangler(game_file):
    assert "_bar_" in start(game_file).reset().feedback
    assert "_bar_" not in start(game_file, wrappers=[AlfredDemangler()]).reset().feedback


def test_wrong_use_is_told(game_file, tmp_path):
    env = gym.make(gym.register_games([game_file], batch_size=2))
    with pytest.raises(GameNotRunningError):
        env.step(["look", "look"])
    env.reset()
    with pytest.raises(AssertionError, match="expected 2 commands"):
        env.step(["look"])
    with pytest.raises(TypeError, match="a command is a text, not None"):
        env.step(["look", None])
    env.close()
    with pytest.raises(GameNotRunningError, match="was closed"):
        env.reset()
    (tmp_path / "game.z8").write_text("")
    with pytest.raises(UncoveredError, match=r"game\.z8"):
        start(tmp_path / "game.z8")
    with pytest.raises(ValueError, match="nothing"):
        EnvInfos(nothing=True)
