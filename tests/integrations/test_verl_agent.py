import pytest
import yaml

from alfworld_sft.errors import UserError
from alfworld_sft.integrations.alfworld.environment import AlfredTWEnv
from alfworld_sft.integrations.verl_agent import build_alfworld_envs
from alfworld_sft.world import load_game
from alfworld_sft.world.plan import shortest_plan
from tests.integrations.data import SIZES, config_for


@pytest.fixture
def config_file(data, tmp_path):
    file = tmp_path / "config_tw.yaml"
    file.write_text(yaml.safe_dump(config_for(data, limit=30)))
    return file


def games(infos):
    return [info["extra.gamefile"] for info in infos]


def test_a_group_plays_one_game_and_each_group_draws_its_own(data, config_file):
    envs = build_alfworld_envs(config_file, 7, env_num=3, group_n=2, resources_per_worker={"num_cpus": 0.1})
    base = AlfredTWEnv(config_for(data), "train")
    expected = []
    for group in range(3):
        env = base.init_env(batch_size=1)
        env.seed(7 + group)
        expected += [env.reset()[1]["extra.gamefile"][0]] * 2
    texts, images, infos = envs.reset()
    assert games(infos) == expected
    assert images is None
    assert [info["observation_text"] for info in infos] == texts
    assert all("Your task is to: " in text for text in texts)
    assert envs.get_admissible_commands == [info["admissible_commands"] for info in infos]
    assert envs.num_processes == 6


def test_winning_gives_ten_and_the_last_result_is_repeated(config_file):
    envs = build_alfworld_envs(
        config_file, 0, 1, 1, {}, is_train=False, env_kwargs={"eval_dataset": "eval_in_distribution"}
    )
    _, _, infos = envs.reset()
    for command in shortest_plan(load_game(infos[0]["extra.gamefile"])):
        texts, images, rewards, dones, infos = envs.step([command])
    assert (images, rewards, dones, infos[0]["won"]) == (None, [10.0], [True], True)
    assert envs.step(["look"])[0] == texts
    assert envs.step(["look"])[2:4] == ([10.0], [True])


@pytest.mark.parametrize("env_num", [1, 2, SIZES["valid_seen"]])
def test_a_full_panel_plays_every_game_once(data, config_file, env_num):
    envs = build_alfworld_envs(config_file, 3, env_num, 1, {}, is_train=False, full_panel=True)
    played = []
    for _ in range(-(-SIZES["valid_seen"] // env_num)):
        played += games(envs.reset()[2])
    assert played[: SIZES["valid_seen"]] == sorted(map(str, data.glob("valid_seen/*/*/game.tw-pddl")))


def test_the_other_validation_split_is_named_by_env_kwargs(config_file):
    envs = build_alfworld_envs(
        config_file, 0, 1, 1, {}, is_train=False, env_kwargs={"eval_dataset": "eval_out_of_distribution"}
    )
    assert "/valid_unseen/" in games(envs.reset()[2])[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"env_num": 0}, "at least 1"),
        ({"env_num": 6, "full_panel": True, "is_train": False}, "5 games for 6 environments"),
        ({"is_train": False, "env_kwargs": {"eval_dataset": "test"}}, "train_eval is 'test'"),
    ],
)
def test_what_cannot_be_played_is_refused(config_file, options, message):
    with pytest.raises(UserError, match=message):
        build_alfworld_envs(config_file, 0, **{"env_num": 1, "group_n": 1, "resources_per_worker": {}} | options)


def test_another_number_of_actions_is_refused(config_file):
    envs = build_alfworld_envs(config_file, 0, 2, 1, {})
    envs.reset()
    with pytest.raises(UserError, match="2 environments need as many actions, not 1"):
        envs.step(["look"])
