from pathlib import Path

import pytest

from alfworld_sft.config import dotted_keys, key_table
from alfworld_sft.errors import ConfigError, DatasetError
from alfworld_sft.train.config import ALIASES, HINTS, TrainConfig, build_train_config
from alfworld_sft.train.data.inputs import check_inputs

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "training.md"


def test_the_defaults_are_the_guides():
    config = build_train_config([])
    assert (config.model.lora_rank, config.model.lora_alpha) == (32, 16)
    assert (config.data.train_batch_size, config.data.micro_batch_size_per_gpu, config.data.max_length) == (
        128,
        2,
        2048,
    )
    assert (config.optim.lr, config.trainer.total_epochs) == (1e-4, 3)
    assert (config.model.partial_pretrain, config.model.target_modules) == ("Qwen/Qwen2.5-1.5B-Instruct", "all-linear")


def test_the_guides_overrides_are_taken_as_they_stand():
    config = build_train_config(
        [
            "+data.prompt_dict_keys=['content']",
            "+data.response_dict_keys=['content']",
            "data.train_files=sft_data_20241211_143022/train.parquet",
            "trainer.logger=['console','wandb']",
            "trainer.experiment_name=20241211_143022",
            "optim.lr=5e-4",
            "optim.betas=[0.9,0.999]",
            "model.path=./Qwen",
            "++trainer.total_training_steps=null",
        ]
    )
    assert config.data.prompt_dict_keys == ["content"]
    assert config.data.train_files == ["sft_data_20241211_143022/train.parquet"]
    assert config.trainer.logger == ["console", "wandb"]
    assert config.trainer.experiment_name == "20241211_143022"
    assert (config.optim.lr, config.optim.betas) == (5e-4, (0.9, 0.999))
    assert config.model.partial_pretrain == "./Qwen"


@pytest.mark.parametrize(
    "name", ["nobody/model", "nullify", "truest", "2024-12-11", "1_000", "12:30:00", "1e5x", "yes", "on"]
)
def test_a_name_is_taken_as_it_stands(name):
    assert build_train_config([f"trainer.experiment_name={name}"]).trainer.experiment_name == name


def test_checkpoints_in_the_home_folder_are_not_written_beside_it(monkeypatch):
    """No shell puts the home folder for a ~ behind a key's =."""
    monkeypatch.setenv("HOME", "/home/someone")
    assert build_train_config(["trainer.default_local_dir=~/m"]).local_dir == Path("/home/someone/m")


def test_one_item_stands_for_a_list_of_one():
    config = build_train_config(["trainer.logger=console", "data.val_files=a", "data.prompt_dict_keys=null"])
    assert (config.trainer.logger, config.data.val_files, config.data.prompt_dict_keys) == (["console"], ["a"], None)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.learning_rate=1", "unknown key 'optim.learning_rate'; did you mean 'optim.lr'?"),
        ("lr=1", "unknown key 'lr'; did you mean 'optim.lr'?"),
        ("model.lora_ranks=1", "unknown key 'model.lora_ranks'; did you mean 'model.lora_rank'?"),
        ("trainer.nnodes=2", "unknown key 'trainer.nnodes'; leave it out: torchrun's --nnodes decides it"),
        ("model.lora_rank=-1", "model.lora_rank=-1: input should be greater than or equal to 0"),
        ("trainer.logger=[mlflow]", "trainer.logger=['mlflow']: there are console, jsonl, tensorboard, wandb"),
        ("optim.betas=[0.9,1.5]", "optim.betas are two numbers from 0 to below 1, such as [0.9,0.95]"),
        ("optim.betas=[0.9]", "optim.betas=[0.9]: it has too few values"),
        ("trainer.processes=0", "trainer.processes=0: input should be 'auto', or greater than or equal to 1"),
        (
            "trainer.processes=atuo",
            "trainer.processes=atuo: input should be 'auto', or a valid integer, unable to parse string as an integer;"
            " did you mean 'auto'?",
        ),
        ("worldmodel.observation_loss=0.3", "worldmodel.observation_loss needs data.multiturn.enable=true"),
    ],
)
def test_a_wrong_override_gets_one_clear_line(override, message):
    with pytest.raises(ConfigError) as error:
        build_train_config([override])
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("overrides", "idle", "needed"),
    [
        (["model.lora_rank=0"], "model.lora_alpha=32", "adapters, which model.lora_rank makes"),
        (["model.lora_rank=0"], "model.target_modules=all-linear", "adapters, which model.lora_rank makes"),
        ([], "data.multiturn.weighting=cumulative", "data.multiturn.enable=true"),
        (["loss.kind=dft"], "loss.clip_below=0.2", "loss.kind=clip"),
        ([], "data.multiturn.messages_key=chat", "data.multiturn.enable=true"),
        (["data.multiturn.enable=true"], "data.prompt_key=question", "data.multiturn.enable=false"),
        ([], "optim.momentum=0.9", "optim.name=muon"),
        (["optim.lr_scheduler=constant"], "optim.min_lr_ratio=0.1", "optim.lr_scheduler=cosine or linear"),
        ([], "trainer.eval_max_steps=9", "trainer.eval_games=N"),
        ([], "trainer.test_freq=5", "data.val_files or trainer.eval_games"),
    ],
)
def test_an_option_without_effect_is_refused(overrides, idle, needed):
    with pytest.raises(ConfigError) as error:
        build_train_config([*overrides, idle])
    assert str(error.value) == f"{idle} has no effect without {needed}; add that, or leave it out"


def test_all_errors_are_reported_together():
    with pytest.raises(ConfigError) as error:
        build_train_config(["optim.lrr=1", "data.max_length=x", "use_remove_padding=true", "model.strategy=zero3"])
    assert str(error.value).splitlines() == [
        "unknown key 'optim.lrr'; did you mean 'optim.lr'?",
        "unknown key 'use_remove_padding'; leave it out: sequences are always packed without padding",
        "data.max_length=x: input should be a valid integer, unable to parse string as an integer",
        "model.strategy=zero3: input should be 'ddp' or 'fsdp2'",
    ]


def test_aliases_lead_to_keys_and_hints_do_not():
    keys = set(dotted_keys(TrainConfig))
    assert set(ALIASES.values()) <= keys
    assert not keys & (ALIASES.keys() | HINTS.keys())


def test_the_document_has_the_table_of_all_keys():
    """To mend it: alfworld-sft train --keys."""
    assert key_table(TrainConfig) in DOCUMENT.read_text(encoding="utf-8")


def test_files_are_looked_at_before_anything_is_loaded(tmp_path):
    with pytest.raises(DatasetError, match=r"data.train_files is needed"):
        check_inputs(build_train_config([]))
    with pytest.raises(DatasetError, match=r"data.train_files=.*: the folder holds no train.parquet"):
        check_inputs(build_train_config([f"data.train_files={tmp_path}"]))
