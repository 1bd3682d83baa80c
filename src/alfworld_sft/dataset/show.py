"""What is in a dataset folder? Figures from the stamp and the files."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from alfworld_sft.dataset.rows import USER_LABEL
from alfworld_sft.dataset.write import DATA_FILES
from alfworld_sft.errors import DatasetError, file_errors
from alfworld_sft.runs.store import make_again, read_stamp, resume_command

_TOKEN = re.compile(r"[^\W\d_]+| (?=\d)|\d|(?:[^\w\s]|_)+\n*|\n+")


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of texts in tokens."""

    total: int
    median: int
    longest: int


@dataclass(frozen=True, slots=True)
class Contents:
    """A dataset folder at a glance. Single-turn lengths cover prompt and response, multi-turn lengths the longest
    conversation of each episode. `sizes`: file name → bytes."""

    stamp: dict[str, Any]
    rows: dict[str, int]
    single_turn: Lengths
    multi_turn: Lengths
    sizes: dict[str, int]
    example: dict[str, Any]


def count_tokens(text: str) -> int:
    """Estimate tokens without a tokenizer: words, digits, marks and line breaks.

    Qwen2.5's own count is about 8 % higher on these texts, 17 % with `compact` (`benchmarks/tokens.py`).
    """
    return len(_TOKEN.findall(text))


def read_contents(folder: Path) -> Contents:
    """Read a finished run's folder; raises DatasetError or RunFolderError if it is not one."""
    stamp = read_stamp(folder)
    if stamp.get("kind") == "evaluate":
        raise DatasetError(
            f"{folder}: an evaluation, which has no dataset; its figures: {resume_command('evaluate', folder)}"
        )
    if "counts" not in stamp:
        raise DatasetError(f"{folder}: this run has no dataset yet; resume with: {resume_command('collect', folder)}")
    rows: dict[str, int] = {}
    single: list[int] = []
    episodes: dict[str, int] = {}
    example: dict[str, Any] = {}
    for split in ("train", "val"):
        table = _open(folder / f"{split}.parquet", make_again(stamp, folder))
        rows[split] = table.metadata.num_rows
        for batch in table.iter_batches(batch_size=512):
            for row in batch.to_pylist():
                example = example or row
                prompt = row["prompt_data"]["content"].removeprefix(USER_LABEL)
                single.append(count_tokens(prompt) + count_tokens(row["response_data"]["content"]))
                tokens = sum(count_tokens(message["content"]) for message in row["messages"])
                episode = json.loads(row["extra_info"])["episode_id"]
                episodes[episode] = max(tokens, episodes.get(episode, 0))
    with file_errors("read", folder, make_again(stamp, folder)):
        sizes = {name: (folder / name).stat().st_size for name in DATA_FILES}
    return Contents(stamp, rows, _lengths(single), _lengths(list(episodes.values())), sizes, example)


def _open(path: Path, again: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing; {again}") from None
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: not a Parquet file ({str(error)[:80]})") from None


def _lengths(tokens: list[int]) -> Lengths:
    return Lengths(sum(tokens), round(median(tokens)), max(tokens)) if tokens else Lengths(0, 0, 0)
