import pytest

from alfworld_sft.config import CollectConfig, build_config, dotted_keys, key_table
from alfworld_sft.errors import ConfigError


def test_the_defaults_need_no_override():
    assert build_config(CollectConfig, []) == CollectConfig()


def test_overrides_are_typed_with_or_without_a_plus():
    config = build_config(
        CollectConfig,
        [
            "+num_episodes=12",
            "policy.noise=0.2",
            "dataset.require_success=True",
            "games.task_types=[look_at_obj_in_light]",
        ],
    )
    assert (config.num_episodes, config.policy.noise, config.dataset.require_success) == (12, 0.2, True)
    assert config.games.task_types == ["look_at_obj_in_light"]


@pytest.mark.parametrize("text", ["all", "null", ""])
def test_the_whole_history_has_three_spellings(text):
    assert build_config(CollectConfig, [f"prompt.history_length={text}"]).prompt.history_length is None


def test_the_later_override_wins():
    assert build_config(CollectConfig, ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("polcy.noise=0.1", "unknown key 'polcy.noise'; did you mean 'policy.noise'?"),
        ("noise=0.1", "unknown key 'noise'; did you mean 'policy.noise'?"),
        ("policy=expert", "unknown key 'policy'; did you mean 'policy.name'?"),
        ("seed", "'seed' is not an option; write key=value, for example seed=7"),
        ("seed=abc", "seed=abc: input should be a valid integer, unable to parse string as an integer"),
        ("seed=-1", "seed=-1: input should be greater than or equal to 0"),
        (
            "policy.name=oracle",
            "policy.name=oracle: input should be 'expert', 'planner', 'random', 'server' or 'local'",
        ),
    ],
)
def test_a_wrong_override_gets_one_clear_line(override, message):
    with pytest.raises(ConfigError) as error:
        build_config(CollectConfig, [override])
    assert str(error.value) == message


def test_all_errors_are_reported_together():
    with pytest.raises(ConfigError) as error:
        build_config(CollectConfig, ["sed=1", "num_episodes=0", "env.max_steps=none", "x"])
    assert len(str(error.value).splitlines()) == 4


def test_the_key_table_has_a_row_for_every_key():
    table = key_table(CollectConfig).splitlines()[2:]
    assert [row.split("`")[1] for row in table] == list(dotted_keys(CollectConfig))
    assert all(not row.endswith("| None |") for row in table), "every key says what it means"
