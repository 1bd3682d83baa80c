import os
import pickle

import pytest

from alfworld_sft.errors import GameFileError, UserError
from alfworld_sft.integrations.alfworld.core import UncoveredError
from alfworld_sft.integrations.alfworld.environment import AlfredTWEnv, get_environment
from tests.integrations.data import SIZES, config_for


def test_a_split_is_found_and_played_to_the_limit(data):
    made = get_environment("AlfredTWEnv")(config_for(data, limit=2), train_eval="eval_in_distribution")
    assert made.num_games == len(made.game_files) == SIZES["valid_seen"]
    env = made.init_env(batch_size=2)
    texts, infos = env.reset()
    assert [len(texts), sorted(infos)] == [2, ["admissible_commands", "extra.gamefile", "won"]]
    assert env.step(["look", "dance"])[2] == (False, False)
    last = env.step(["dance", "look"])
    assert last[2] == (True, True)
    assert env.step(["inventory", "inventory"]) == last
    assert last[3]["extra.gamefile"] == [None, None]  # the file is told at reset only, as by the reference


@pytest.mark.parametrize("named", [None, ""])
def test_data_in_the_default_folder_need_no_variable(data, tmp_path, monkeypatch, named):
    """As with the real alfworld, whose import sets ALFWORLD_DATA."""
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "alfworld").symlink_to(data)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ALFWORLD_DATA", named or "")
    if named is None:
        monkeypatch.delenv("ALFWORLD_DATA")
    config = config_for(data)
    config["dataset"] |= {
        key: value.replace(str(data), "$ALFWORLD_DATA")
        for key, value in config["dataset"].items()
        if isinstance(value, str)
    }
    assert AlfredTWEnv(config, "eval_in_distribution").num_games == SIZES["valid_seen"]
    assert os.environ["ALFWORLD_DATA"] == str(tmp_path / ".cache" / "alfworld")


def test_the_environment_can_be_sent_to_another_process(data):
    made = AlfredTWEnv(config_for(data))
    assert pickle.loads(pickle.dumps(made)).game_files == made.game_files


def test_dagger_gives_the_expert_and_its_own_limit(data):
    env = AlfredTWEnv(config_for(data, "dagger", "planner", limit=1)).init_env(batch_size=1)
    _, infos = env.reset()
    assert infos["extra.expert_plan"] == infos["policy_commands"]
    for _ in range(3):
        _, _, dones, infos = env.step([infos["extra.expert_plan"][0][0]])
    assert dones == (True,)


def test_games_are_drawn_by_the_seed_and_skipped(data):
    env = AlfredTWEnv(config_for(data)).init_env(batch_size=1)

    def drawn(skip=0):
        env.seed(5)
        env.skip(skip)
        return [env.reset()[1]["extra.gamefile"][0] for _ in range(4)]

    assert drawn(2)[:2] == drawn()[2:]


def test_domain_randomisation_deals_out_other_numbers(data):
    plain, shuffled = (
        AlfredTWEnv(config_for(data, domain_randomization=value)).init_env(batch_size=1) for value in (False, True)
    )
    openings = {shuffled.reset()[0] for _ in range(SIZES["train"])}
    assert not openings <= {plain.reset()[0] for _ in range(SIZES["train"])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"general": {"training_method": "ppo"}}, "training_method is 'ppo'; there are dqn and dagger"),
        ({"rl": {}}, "lacks rl.training.max_nb_steps_per_episode"),
        ({"dataset": {}}, "lacks dataset.data_path"),
        ({"dataset": {"data_path": "/nowhere"}}, "/nowhere, which is no folder"),
        ({"env": {"task_types": [9]}}, "names no task type"),
    ],
)
def test_a_config_that_cannot_be_honoured_is_refused(data, change, message):
    with pytest.raises(UserError, match=message):
        AlfredTWEnv(config_for(data) | change).init_env(batch_size=1)


def test_a_folder_without_games_is_refused(data, tmp_path):
    config = config_for(data)
    config["dataset"]["data_path"] = str(tmp_path)
    with pytest.raises(UserError, match="has no games of the types"):
        AlfredTWEnv(config)


@pytest.mark.parametrize("name", ["AlfredThorEnv", "AlfredHybrid"])
def test_images_are_refused_by_name(name):
    with pytest.raises(UncoveredError, match=name):
        get_environment(name)


def test_a_broken_game_is_refused_when_it_is_loaded(data, tmp_path):
    env = AlfredTWEnv(config_for(data))
    env.game_files = [str(tmp_path / "game.tw-pddl")]
    (tmp_path / "game.tw-pddl").write_text("{}")
    with pytest.raises(GameFileError, match="pddl_domain"):
        env.init_env(batch_size=1).reset()
