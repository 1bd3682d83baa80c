"""Writing an export: the records of train and val in one folder, with a README that says how to load them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from alfworld_sft.errors import UserError, os_reason
from alfworld_sft.export.dialogues import SPLITS, read_conversations, read_single_turns
from alfworld_sft.export.targets import TARGETS, Record, RowTarget
from alfworld_sft.files import whole_folder
from alfworld_sft.strict_json import to_json
from alfworld_sft.types import Form

RECORDS_PER_BLOCK = 512


class ExportError(UserError):
    """An export that cannot be made."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: records by split, and how many dialogues the target could not hold."""

    records: dict[str, int]
    left_out: dict[str, int]


def export_rows(run: Path, name: str, out: Path, form: Form = "multi") -> Exported:
    """Write a dataset folder in the form that a framework reads.

    Raises ExportError where `out` exists or cannot be written, and DatasetError for a folder without a dataset.
    """
    target = TARGETS[name]
    records, left_out = {}, {}
    with new_folder(out) as folder:
        for split in SPLITS:
            counts = _write_split(run, split, target, folder / f"{split}{target.suffix}", form)
            records[split], left_out[split] = counts
        if not records["train"]:
            raise ExportError(
                f"{run}: {name} could read none of its {left_out['train']:,} conversations, which all hold untrained"
                " replies; use --form single"
            )
        if name == "llamafactory":
            _write_dataset_info(folder)
        _write_readme(folder, run, name, form, target.settings)
    return Exported(records, left_out)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a folder that appears under its name once the block has succeeded; raises ExportError."""
    if out.exists():
        raise ExportError(f"-o {out}: it exists already; name a new folder")
    try:
        with whole_folder(out) as folder:
            yield folder
    except OSError as error:
        raise ExportError(f"-o {out}: {os_reason(error)}; name a folder that can be written") from error


def write_jsonl(file: Path, records: Iterator[Record]) -> int:
    """Write records as JSON lines; return their number."""
    number = 0
    with file.open("w", encoding="utf-8") as lines:
        for record in records:
            lines.write(to_json(record, separators=(",", ":")) + "\n")
            number += 1
    return number


def _write_split(run: Path, split: str, target: RowTarget, file: Path, form: Form) -> tuple[int, int]:
    """Write one split; return the numbers of its records and of the dialogues that gave none."""
    read = read_conversations if form == "multi" else read_single_turns
    left_out = 0

    def records() -> Iterator[Record]:
        nonlocal left_out
        number = 0
        for dialogue in read(run, split):
            before = number
            for record in target.records(dialogue, number):
                number += 1
                yield record
            left_out += number == before

    written = write_jsonl(file, records()) if target.suffix == ".jsonl" else _write_parquet(file, records())
    if not written:
        file.unlink(missing_ok=True)  # readers of a dataset fail on a file without records
    return written, left_out


def _write_parquet(file: Path, records: Iterator[Record]) -> int:
    number, writer = 0, None
    try:
        while block := list(islice(records, RECORDS_PER_BLOCK)):
            table = pa.Table.from_pylist(block, writer.schema if writer else None)
            writer = writer or pq.ParquetWriter(file, table.schema, compression="zstd")
            writer.write_table(table)
            number += len(block)
    finally:
        if writer:
            writer.close()
    return number


def _write_dataset_info(folder: Path) -> None:
    """Write the index by which LLaMA-Factory finds files and columns."""
    roles = {"role_tag": "role", "content_tag": "content"}
    names = {"user_tag": "user", "assistant_tag": "assistant", "system_tag": "system"}
    entries = {
        f"alfworld_{split}": {
            "file_name": f"{split}.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": {**roles, **names},
        }
        for split in SPLITS
        if (folder / f"{split}.jsonl").exists()
    }
    (folder / "dataset_info.json").write_text(to_json(entries, indent=2) + "\n", "utf-8")


def _write_readme(folder: Path, run: Path, name: str, form: Form, settings: str) -> None:
    """Write where the data comes from and what to set to train on the same tokens."""
    lines = [
        f"# {run.name}, exported for {name}",
        "",
        f"Written by `alfworld-sft export --to {name} --form {form}` from the dataset `{run.name}`.",
        "",
        settings,
        "",
    ]
    (folder / "README.md").write_text("\n".join(lines), "utf-8")
    if (run / "run.json").is_file():
        shutil.copyfile(run / "run.json", folder / "run.json")
