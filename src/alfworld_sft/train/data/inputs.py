"""Are the config's files and columns usable? Checked before torch is imported or a process is started."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

from alfworld_sft.dataset.read import (
    Columns,
    dataset_file,
    first_rows,
    refuse_duplicates,
    stand_for_episodes,
    unread_columns,
    wanted_columns,
)
from alfworld_sft.dataset.trajectories import TrajectoryKeys
from alfworld_sft.errors import DatasetError, UserError
from alfworld_sft.models.reference import unusable_path
from alfworld_sft.train.config import TrainConfig

logger = logging.getLogger(__name__)


def columns_of(config: TrainConfig) -> Columns:
    """Return the columns with a row's text."""
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
    """Return the files to train on; raises DatasetError if one is missing or named twice, or if none is named."""
    if not config.data.train_files:
        raise DatasetError("data.train_files is needed: a Parquet file, or the folder that 'alfworld-sft collect' made")
    return _find_files(config.data.train_files, "train.parquet", "data.train_files")


def val_files(config: TrainConfig) -> list[Path]:
    """Return the files to validate on, if any; raises DatasetError if one is missing or named twice."""
    return _find_files(config.data.val_files or (), "val.parquet", "data.val_files")


def _find_files(names: Sequence[str], of_folder: str, option: str) -> list[Path]:
    files = [dataset_file(name, of_folder, option) for name in names]
    refuse_duplicates(files, option)
    return files


def shares_of_step(config: TrainConfig) -> int:
    """Return into how many parts a step can be divided: its rows, or about as many conversations as they fold into.

    Raises DatasetError.
    """
    rows = config.data.train_batch_size
    if not (config.data.multiturn.enable and config.data.multiturn.fold):
        return rows
    columns = columns_of(config)
    first = [row for file in train_files(config) for row in first_rows(file, columns, "data.train_files")]
    key_of = TrajectoryKeys()
    episodes = {key_of(row) for row in first}
    alone = config.worldmodel.next_state_rows  # for each of the others one that is a sequence of its own
    return max(1, math.ceil(rows * (len(episodes) / max(1, len(first)) + alone) / (1 + alone)))


def check_inputs(config: TrainConfig) -> None:
    """Read the first rows of every file as training would; raises UserError. Imports no torch.

    Warns of unread columns that would change the training, and of a file in both lists.
    """
    model = config.model.partial_pretrain
    if reason := unusable_path(model):
        raise UserError(f"model.partial_pretrain={model}: {reason}")
    columns = columns_of(config)
    train, val = train_files(config), val_files(config)
    for file in val:
        if any(file.samefile(other) for other in train):
            logger.warning("data.val_files: %s is trained on, so the validation loss will be too optimistic", file)
    for option, files in (("data.train_files", train), ("data.val_files", val)):
        for file in files:
            first = first_rows(file, columns, option)
            if not columns.multiturn and stand_for_episodes(first):
                raise DatasetError(
                    f"{option}={file}: it has one row for each episode, so single turns would train the last reply"
                    " alone; train whole conversations with data.multiturn.enable=true, or collect with"
                    " dataset.rows_per=turn"
                )
            if unread := unread_columns(file, wanted_columns(columns), option):
                logger.warning("%s: not read: %s", file, ", ".join(f"'{name}'" for name in unread))
