import pytest

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.config import build_config, dotted_keys, idle_options, key_table
from alfworld_sft.errors import ConfigError
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.rl.config import RLConfig
from alfworld_sft.train.config import TrainConfig


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


@pytest.mark.parametrize("text", ["all", "null"])
def test_the_whole_history_has_two_spellings(text):
    assert build_config(CollectConfig, [f"prompt.history_length={text}"]).prompt.history_length is None


def test_the_later_override_wins():
    assert build_config(CollectConfig, ["seed=1", "seed=2"]).seed == 2


TEXT_KEYS = (
    *((CollectConfig, key) for key in ("games.source", "prompt.template")),
    *((EvaluateConfig, key) for key in ("games.source", "policy.model", "policy.base_url", "policy.serve")),
    *((TrainConfig, f"data.{key}") for key in ("prompt_key", "response_key", "multiturn.messages_key")),
    *((TrainConfig, f"model.{key}") for key in ("partial_pretrain", "target_modules")),
    *((TrainConfig, f"trainer.{key}") for key in ("default_local_dir", "project_name", "experiment_name")),
    *((TrainConfig, f"trainer.{key}") for key in ("eval_source", "eval_template", "resume_mode")),
)
BESIDE = {
    "policy.model": ["policy.name=server"],
    "policy.base_url": ["policy.name=server"],
    "policy.serve": ["policy.name=server"],
    "data.multiturn.messages_key": ["data.multiturn.enable=true"],
    "trainer.eval_source": ["trainer.eval_games=1"],
    "trainer.eval_template": ["trainer.eval_games=1"],
}
"""What a key has an effect beside, where that is not the default."""
LIST_KEYS = ("train_files", "val_files", "prompt_dict_keys", "response_dict_keys")
STRANGE = (
    "/d/my games #2",
    "&abc",
    "*abc",
    "!x y",
    "a: b",
    "# a",
    "'quoted'",
    " 7 ",
    "1e5",
    "007",
    "true",
    "~",
    "[a]/b",
)


def value_of(config, key):
    for name in key.split("."):
        config = getattr(config, name)
    return config


@pytest.mark.parametrize("text", STRANGE)
@pytest.mark.parametrize(("model", "key"), TEXT_KEYS)
def test_the_value_of_a_text_key_is_the_text_as_it_stands(model, key, text):
    assert value_of(build_config(model, [*BESIDE.get(key, []), f"{key}={text}"]), key) == text


@pytest.mark.parametrize("text", STRANGE)
@pytest.mark.parametrize("key", LIST_KEYS)
def test_one_text_is_a_list_of_one_as_it_stands(key, text):
    assert getattr(build_config(TrainConfig, [f"data.{key}={text}"]).data, key) == [text]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("[a,b]", ["a", "b"]),
        ("['a', \"b\" , c]", ["a", "b", "c"]),
        ("[/d/my games #2,&abc]", ["/d/my games #2", "&abc"]),
        ("[a: b, null, 007, 2024-12-11]", ["a: b", "null", "007", "2024-12-11"]),
        ("['a, b', c]", ["a, b", "c"]),
        ("[it's,a]", ["it's", "a"]),
        ("[a,]", ["a"]),
    ],
)
def test_the_items_of_a_list_of_texts_are_taken_as_they_stand(text, items):
    assert build_config(TrainConfig, [f"data.train_files={text}"]).data.train_files == items


@pytest.mark.parametrize("text", ["null", "Null", "NULL"])
@pytest.mark.parametrize(
    ("model", "key"),
    [(CollectConfig, "games.source"), (TrainConfig, "trainer.eval_source"), (TrainConfig, "data.val_files")],
)
def test_null_unsets_an_optional_text_key(model, key, text):
    assert value_of(build_config(model, [f"{key}=x", f"{key}={text}"]), key) is None


@pytest.mark.parametrize(
    ("model", "override"),
    [
        (TrainConfig, "model.path="),
        (CollectConfig, "prompt.template="),
        (CollectConfig, "policy.name="),
        (CollectConfig, "seed="),
        (CollectConfig, "policy.noise="),
        (TrainConfig, "optim.betas="),
    ],
)
def test_no_value_for_a_key_that_needs_one_is_refused(model, override):
    """A shell variable that is not set would otherwise name the current folder."""
    with pytest.raises(ConfigError) as error:
        build_config(model, [override], aliases={"model.path": "model.partial_pretrain"})
    assert str(error.value).endswith("=: no value is given; give one, or leave the key out")


@pytest.mark.parametrize(("model", "key"), [(CollectConfig, "num_episodes"), (TrainConfig, "data.val_files")])
def test_no_value_for_a_key_that_may_be_unset_is_refused_and_null_is_named(model, key):
    """`num_episodes=$N` with no N would otherwise play every game."""
    with pytest.raises(ConfigError) as error:
        build_config(model, [f"{key}="])
    assert str(error.value) == f"{key}=: no value is given; give one, or null for none, or leave the key out"


def test_one_word_stands_for_a_list_of_one():
    config = build_config(CollectConfig, ["games.task_types=look_at_obj_in_light"])
    assert config.games.task_types == ["look_at_obj_in_light"]


def test_an_empty_item_of_a_list_is_refused():
    with pytest.raises(ConfigError, match=r"^data\.train_files=\[a,,b\]: an item of the list is empty$"):
        build_config(TrainConfig, ["data.train_files=[a,,b]"])


@pytest.mark.parametrize("text", ["7 #3", "&abc", "#5", "!x", "{a: b}", "[7"])
def test_text_where_a_number_belongs_is_refused_and_never_cut_off(text):
    """As a comment or a name of YAML's it would be read as 7, or as null, which plays every game."""
    with pytest.raises(ConfigError) as error:
        build_config(CollectConfig, [f"num_episodes={text}"])
    assert str(error.value).startswith(f"num_episodes={text}: input should be a valid integer")


def test_a_word_with_something_behind_it_is_refused():
    with pytest.raises(ConfigError, match=r"policy\.search=sweep #x: input should be 'prior' or 'sweep'"):
        build_config(CollectConfig, ["policy.search=sweep #x"])


@pytest.mark.parametrize("override", ["optim.lr=inf", "optim.lr=nan", "optim.betas=[0.9,nan]"])
def test_a_number_that_is_not_finite_is_refused(override):
    with pytest.raises(ConfigError, match="finite number"):
        build_config(TrainConfig, [override])


def test_a_key_that_holds_a_number_or_a_word_reads_numbers_as_numbers():
    words = ["games.source=generate"]
    assert build_config(CollectConfig, [*words, "games.difficulty=1.50"]).games.difficulty == 1.5
    assert build_config(CollectConfig, [*words, "games.difficulty=hard"]).games.difficulty == "hard"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("polcy.noise=0.1", "unknown key 'polcy.noise'; did you mean 'policy.noise'?"),
        ("noise=0.1", "unknown key 'noise'; did you mean 'policy.noise'?"),
        ("policy.temp=1", "unknown key 'policy.temp'; did you mean 'policy.temperature'?"),
        ("policy=expert", "unknown key 'policy'; did you mean 'policy.name'?"),
        ("seed", "'seed' is not an option; write key=value, for example seed=7"),
        ("seed=abc", "seed=abc: input should be a valid integer, unable to parse string as an integer"),
        ("seed=-1", "seed=-1: input should be greater than or equal to 0"),
        (
            "policy.name=oracle",
            "policy.name=oracle: input should be 'expert', 'planner', 'random', 'server' or 'local'",
        ),
        (
            "games.split=valid_sen",
            "games.split=valid_sen: input should be 'train', 'valid_train', 'valid_seen' or 'valid_unseen';"
            " did you mean 'valid_seen'?",
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
    assert str(error.value).splitlines() == [
        "unknown key 'sed'; did you mean 'seed'?",
        "'x' is not an option; write key=value, for example seed=7",
        "env.max_steps=none: input should be a valid integer, unable to parse string as an integer",
        "num_episodes=0: input should be greater than or equal to 1",
    ]


def test_the_key_table_has_a_row_for_every_key():
    table = key_table(CollectConfig).splitlines()[2:]
    assert [row.split("`")[1] for row in table] == list(dotted_keys(CollectConfig))
    assert all(not row.endswith("| None |") for row in table), "every key says what it means"


@pytest.mark.parametrize(
    ("model", "overrides", "idle"),
    [
        (CollectConfig, ["policy.name=planner", "policy.noise=0.2"], {"policy.noise=0.2": "policy.name=expert"}),
        (CollectConfig, ["policy.name=server", "policy.search=sweep"], {"policy.search=sweep": "policy.name=expert"}),
        (
            CollectConfig,
            ["policy.name=random", "policy.guesses=hopeful", "worldmodel.predictions=model"],
            {"policy.guesses=hopeful": "policy.name=expert"},
        ),
        (CollectConfig, ["policy.noise_episodes=0.1"], {"policy.noise_episodes=0.1": "policy.noise"}),
        (
            EvaluateConfig,
            ["policy.name=expert", "policy.temperature=1", "policy.model=x", "policy.dtype=float32"],
            {
                "policy.model=x": "policy.name=server or local",
                "policy.temperature=1": "policy.name=server or local",
                "policy.dtype=float32": "policy.name=local",
            },
        ),
        (
            EvaluateConfig,
            ["policy.price_prompt=1", "policy.price_completion=1"],
            {
                "policy.price_prompt=1": "policy.name=server or local",
                "policy.price_completion=1": "policy.name=server or local",
            },
        ),
        (EvaluateConfig, ["policy.name=server", "policy.max_batch=2"], {"policy.max_batch=2": "policy.name=local"}),
        (
            EvaluateConfig,
            ["policy.name=server", "policy.serve_timeout_s=5"],
            {"policy.serve_timeout_s=5": "policy.serve"},
        ),
        (
            EvaluateConfig,
            ["policy.name=local", "policy.truncated=retry"],
            {"policy.truncated=retry": "policy.name=server"},
        ),
        (
            CollectConfig,
            ["policy.rationalize_attempts=2"],
            {"policy.rationalize_attempts=2": "policy.rationalize=true"},
        ),
        (CollectConfig, ["games.difficulty=hard"], {"games.difficulty=hard": "games.source=generate"}),
        (
            EvaluateConfig,
            ["prompt.form=multi", "prompt.history_length=2"],
            {"prompt.history_length=2": "prompt.form=single"},
        ),
    ],
)
def test_options_without_effect_are_refused_together(model, overrides, idle):
    with pytest.raises(ConfigError) as error:
        build_config(model, [*overrides, "sed=1"])
    said = [f"{option} has no effect without {other}; add that, or leave it out" for option, other in idle.items()]
    assert str(error.value).splitlines()[1:] == said


@pytest.mark.parametrize(
    ("model", "overrides"),
    [
        (CollectConfig, ["policy.name=planner", "policy.noise=0", "policy.keep_token_ids=false", "policy.model=null"]),
        (CollectConfig, ["policy.name=server", "policy.rationalize=true", "policy.noise=0.2", "policy.search=sweep"]),
        (CollectConfig, ["policy.name=local", "policy.truncated=keep"]),
        (CollectConfig, ["prompt.form=multi", "prompt.history_length=2"]),
        (EvaluateConfig, ["games.source=embedded", "games.difficulty=normal"]),
    ],
)
def test_options_that_have_an_effect_or_switch_one_off_are_taken(model, overrides):
    build_config(model, overrides)


@pytest.mark.parametrize("model", [CollectConfig, EvaluateConfig, TrainConfig, RLConfig])
def test_defaults_and_stored_configs_are_never_idle(model):
    stored = model.model_validate(model().model_dump())
    assert idle_options(stored, {}) == []


@pytest.mark.parametrize("model", [CollectConfig, EvaluateConfig, TrainConfig, RLConfig])
def test_every_key_that_needs_another_is_a_key(model):
    """A misspelt one would never be refused."""
    config, known = model(), set(dotted_keys(model))
    for name in ("", *type(config).model_fields):
        section = getattr(config, name) if name else config
        for need in getattr(section, "NEEDS", ()):
            need.met(section)
            assert {f"{name}.{key}".lstrip(".") for key in need.keys} <= known
