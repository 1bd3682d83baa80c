"""How are the five files of a dataset written, in one pass over the episodes and in constant memory?

Rows are written in blocks; `raw_trajectories.json` grows one episode at a time. All files are written under temporary
names and renamed once all of them are complete.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from alfworld_sft.dataset.rows import Rendering, Row, as_dicts, compact_json, conversation_of
from alfworld_sft.files import whole_file
from alfworld_sft.runs.records import to_dict
from alfworld_sft.types import Episode, Message
from alfworld_sft.usage import usage_of

DATA_FILES = ("train.parquet", "val.parquet", "train.csv", "val.csv", "raw_trajectories.json")
ROWS_PER_BLOCK = 512

_CONTENT = pa.struct([("content", pa.string())])
SCHEMA = pa.schema(
    [
        ("data_source", pa.string()),
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("prompt_data", _CONTENT),
        ("response_data", _CONTENT),
        ("ability", pa.string()),
        ("reward_model", pa.string()),
        ("extra_info", pa.string()),
    ]
)
"""Columns of a row. In CSV, nested columns are JSON; parsed, they equal the Parquet values."""


class RowWriter:
    """Writes rows to one Parquet and one CSV file."""

    def __init__(self, parquet: IO[bytes], csv_file: IO[bytes]) -> None:
        self.rows = 0
        self._block: list[Row] = []
        self._parquet = pq.ParquetWriter(parquet, SCHEMA, compression="zstd")
        self._csv_text = io.TextIOWrapper(csv_file, encoding="utf-8", newline="", write_through=False)
        self._csv = csv.writer(self._csv_text, lineterminator="\n")
        self._csv.writerow(SCHEMA.names)

    def write(self, row: Row) -> None:
        """Add a row."""
        self.rows += 1
        self._block.append(row)
        self._csv.writerow([value if isinstance(value, str) else compact_json(value) for value in row.values()])
        if len(self._block) >= ROWS_PER_BLOCK:
            self._flush()

    def close(self) -> None:
        """Write the remaining rows."""
        self._flush()
        self._parquet.close()
        self._csv_text.flush()
        self._csv_text.detach()

    def abandon(self) -> None:
        """Detach from the files, which are about to be deleted."""
        with suppress(OSError, ValueError):
            self._parquet.close()
        with suppress(OSError, ValueError):
            self._csv_text.detach()

    def _flush(self) -> None:
        if self._block:
            self._parquet.write_table(pa.Table.from_pylist(self._block, SCHEMA))
            self._block = []


class RawWriter:
    """Writes full episodes into one JSON array."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._separator = b"[\n"

    def write(self, trajectory: dict[str, Any]) -> None:
        """Add an episode in full."""
        self._file.write(self._separator + compact_json(trajectory).encode())
        self._separator = b",\n"

    def close(self) -> None:
        """End the array."""
        self._file.write(b"[]\n" if self._separator == b"[\n" else b"\n]\n")


def raw_trajectory(episode: Episode, rendering: Rendering) -> dict[str, Any]:
    """Return a full episode under the published recipe's field names, with the policy's original replies."""
    return trajectory_of(episode, conversation_of(episode, Rendering(rendering.template, predictions="model")))


def trajectory_of(episode: Episode, conversation: tuple[Message, ...]) -> dict[str, Any]:
    """Return a full episode under the published recipe's field names, with this conversation."""
    record = to_dict(episode)
    usage = usage_of(episode)
    return {
        "messages_list": as_dicts(conversation),
        "success": episode.success,
        "rewards": [step.reward for step in episode.steps],
        "final_reward": sum(step.reward for step in episode.steps),
        "task_info": {
            "episode_id": episode.id,
            **{name: value for name, value in record.items() if name not in ("steps", "success", "error")},
        },
        "episode_length": len(episode.steps),
        **({"usage": usage.as_dict()} if usage.replies else {}),
        "steps": record["steps"],
    }


class DatasetWriter:
    """The writers of one dataset folder."""

    def __init__(self, train: RowWriter, val: RowWriter, raw: RawWriter) -> None:
        self.train = train
        self.val = val
        self.raw = raw

    def write(self, trajectory: dict[str, Any], rows: Iterable[Row], *, held_out: bool) -> None:
        """Add an episode, as `raw_trajectory` gives it, and its rows."""
        self.raw.write(trajectory)
        writer = self.val if held_out else self.train
        for row in rows:
            writer.write(row)


@contextmanager
def dataset_files(folder: Path) -> Iterator[DatasetWriter]:
    """Open the five files of a dataset; each appears, complete, once the block has succeeded."""
    with ExitStack() as stack:
        files = {name: stack.enter_context(whole_file(folder / name)) for name in DATA_FILES}
        rows: list[RowWriter] = []
        try:
            for split in ("train", "val"):
                rows.append(RowWriter(files[f"{split}.parquet"], files[f"{split}.csv"]))
            raw = RawWriter(files["raw_trajectories.json"])
            train, val = rows
            yield DatasetWriter(train, val, raw)
            for writer in rows:
                writer.close()
            raw.close()
        except BaseException:
            for writer in rows:
                writer.abandon()
            raise
