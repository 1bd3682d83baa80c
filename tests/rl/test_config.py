"""Which options does `rl` take, and which does it refuse?"""

from pathlib import Path

import pytest

from alfworld_sft.config import key_table
from alfworld_sft.errors import ConfigError
from alfworld_sft.rl.config import HINTS, RLConfig, build_rl_config

DOCUMENT = Path(__file__).parents[2] / "docs" / "reinforcement-learning.md"


def refusal(*overrides):
    with pytest.raises(ConfigError) as error:
        build_rl_config(overrides)
    return str(error.value)


def test_the_defaults_are_grpo_on_fresh_games():
    config = build_rl_config([])
    assert (config.rl.method, config.rl.advantage, config.games.source) == ("policy_gradient", "grpo", "generate")
    assert config.prompt.form == "multi"
    assert build_rl_config(["data.micro_batch_size_per_gpu=1", "optim.betas=[0.9,0.99]"]).token_budget == 4096


@pytest.mark.parametrize("advantage", ["grpo", "rloo", "gigpo"])
def test_a_group_of_one_has_nothing_to_be_compared_with(advantage):
    assert refusal("rl.num_generations=1", f"rl.advantage={advantage}") == (
        f"rl.num_generations=1: rl.advantage={advantage} compares episodes of one game; set 2 or more, or"
        " rl.advantage=progress"
    )


@pytest.mark.parametrize("alone", ["rl.advantage=progress", "rl.method=best_of"])
def test_what_compares_no_episodes_may_play_a_game_once(alone):
    assert build_rl_config(["rl.num_generations=1", alone]).rl.num_generations == 1


@pytest.mark.parametrize(
    ("idle", "beside", "option"),
    [
        ("rl.epsilon=0.1", "rl.method=best_of", "rl.method=policy_gradient"),
        ("rl.beta=0.1", "rl.method=best_of", "rl.method=policy_gradient"),
        ("rl.step_weight=2", "rl.advantage=grpo", "rl.advantage=gigpo"),
        ("rl.gamma=0.9", "rl.advantage=rloo", "rl.advantage=gigpo or progress"),
        ("rl.progress_reward=1", "rl.advantage=gigpo", "rl.advantage=progress"),
        ("rl.scale_rewards=group", "rl.advantage=rloo", "rl.advantage=grpo, gigpo or progress"),
        ("policy.attempts=3", "policy.name=local", "policy.name=server"),
        ("trainer.test_freq=3", "trainer.eval_games=0", "trainer.eval_games"),
        ("prompt.history_length=2", "prompt.form=multi", "prompt.form=single"),
        ("rl.cut_off=kept", "rl.advantage=grpo", "rl.advantage=progress"),
    ],
)
def test_an_option_without_effect_is_refused(idle, beside, option):
    assert refusal(idle, beside) == f"{idle} has no effect without {option}; add that, or leave it out"


@pytest.mark.parametrize("key", sorted(HINTS))
def test_keys_of_other_tools_are_answered_with_ours(key):
    assert refusal(f"{key}=1") == f"unknown key '{key}'; {HINTS[key]}"


def test_a_server_plays_as_many_episodes_at_once_as_wanted():
    assert build_rl_config(["policy.name=server", "policy.max_batch=256"]).policy.max_batch == 256


def test_a_server_needs_adapters_to_load():
    assert "model.lora_rank=0 makes none" in refusal("policy.name=server", "model.lora_rank=0")


def test_the_document_has_the_table_of_all_keys():
    """To mend it: alfworld-sft rl --keys."""
    assert key_table(RLConfig) in DOCUMENT.read_text(encoding="utf-8")
