"""The config's files and columns, and a first look at them before torch is imported or a process is started."""

from __future__ import annotations

import os
from pathlib import Path

from alfworld_sft.errors import DatasetError, UserError
from alfworld_sft.train.config import TrainConfig
from alfworld_sft.train.table import Columns, dataset_file, read_rows

FIRST_ROWS = 32


def columns_of(config: TrainConfig) -> Columns:
    """Return where the text of a row stands."""
    data = config.data
    return Columns(
        multiturn=data.multiturn.enable,
        prompt_key=data.prompt_key,
        response_key=data.response_key,
        prompt_dict_keys=None if data.prompt_dict_keys is None else tuple(data.prompt_dict_keys),
        response_dict_keys=None if data.response_dict_keys is None else tuple(data.response_dict_keys),
        messages_key=data.multiturn.messages_key,
        next_state=config.worldmodel.next_state_rows > 0,
    )


def train_files(config: TrainConfig) -> list[Path]:
    """Return the files to train on; raises DatasetError where one is missing, or none is named."""
    if not config.data.train_files:
        raise DatasetError("data.train_files is needed: a Parquet file, or the folder that 'alfworld-sft collect' made")
    return [dataset_file(name, "train.parquet", "data.train_files") for name in config.data.train_files]


def val_files(config: TrainConfig) -> list[Path]:
    """Return the files to validate on, none where none is named; raises DatasetError where one is missing."""
    return [dataset_file(name, "val.parquet", "data.val_files") for name in config.data.val_files or ()]


def is_path(model: str) -> bool:
    """Tell a folder on this machine from a model's name on the hub, which has one slash and no dot before it."""
    return model.startswith((".", "/", "~")) or model.count("/") > 1 or Path(model).is_dir()


def fetched_folder(model: str) -> Path | None:
    """Return where the hub's client keeps a model of this name on this machine, or None; asks nobody."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub")).expanduser()
    kept = cache / f"models--{model.replace('/', '--')}"
    try:
        folder = kept / "snapshots" / (kept / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return folder if folder.is_dir() else None


def look_at(config: TrainConfig) -> None:
    """Read the first rows of every file as training would; raises UserError. Imports no torch."""
    model = config.model.partial_pretrain
    if is_path(model) and not Path(model).is_dir():
        raise UserError(f"model.partial_pretrain={model}: there is no such folder")
    columns = columns_of(config)
    for option, files in (("data.train_files", train_files(config)), ("data.val_files", val_files(config))):
        for file in files:
            for number, _ in enumerate(read_rows([file], columns, option), 1):
                if number == FIRST_ROWS:
                    break
