"""Which runs are reported, and what does each folder hold: episodes, training figures, or both?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alfworld_sft.errors import RunFolderError, TemplateError, UserError, os_reason
from alfworld_sft.prompts.template import Template
from alfworld_sft.report.training import Records, read_records
from alfworld_sft.runs.journal import Journal, read_journal
from alfworld_sft.runs.store import JOURNAL, RUN_FILE, read_stamp
from alfworld_sft.runs.template import template_of_run
from alfworld_sft.train.log import METRICS_FILE

CHECKPOINT_STAMP = "alfworld_sft.json"
"""What `train` writes into each checkpoint and final model; `models.stamp` reads it too, but needs torch."""


@dataclass(frozen=True, slots=True)
class Run:
    """One folder. `stamp` is `run.json`, or a training's newest checkpoint stamp, or empty.

    `journal` is None where no games were played, and `records` where nothing was trained. `name` is unique in a report.
    """

    path: Path
    name: str
    kind: str
    stamp: Mapping[str, Any]
    journal: Journal | None
    records: Records | None

    def stamped(self, *keys: str) -> Any:
        """Return a value of the stamp by its path of keys, None where it has none: a stored stamp may hold anything."""
        value: Any = self.stamp
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Open the folders in their order; raises RunFolderError for one that holds neither episodes nor figures."""
    return [_read(path, name) for path, name in zip(paths, _names(paths), strict=True)]


def template_of(run: Run) -> Template | None:
    """Return the template that the run was played with, None where it cannot be read.

    A template file that the stamp of another user's run names is not read: a stored run is data.
    """
    try:
        return template_of_run(run.stamp, run.path)
    except (RunFolderError, TemplateError):
        return None


def _read(path: Path, name: str) -> Run:
    if not path.is_dir():
        raise RunFolderError(f"{path}: no such folder; name folders of collect, evaluate or train")
    has_journal, has_records = (path / JOURNAL).is_file(), (path / METRICS_FILE).is_file()
    if not has_journal and not has_records:
        raise RunFolderError(
            f"{path}: it holds neither {JOURNAL} nor {METRICS_FILE}; name a folder of collect, evaluate or train"
        )
    stamp = read_stamp(path) if (path / RUN_FILE).is_file() else _checkpoint_stamp(path)
    return Run(
        path=path,
        name=name,
        kind=str(stamp.get("kind", "collect")) if has_journal else "train",
        stamp=stamp,
        journal=read_journal(path / JOURNAL) if has_journal else None,
        records=read_records(path / METRICS_FILE) if has_records else None,
    )


def _checkpoint_stamp(folder: Path) -> dict[str, Any]:
    """Return the stamp of the checkpoint, or final model, that was written last; empty where there is none."""
    found = sorted(folder.glob(f"*/{CHECKPOINT_STAMP}"), key=lambda file: file.stat().st_mtime)
    if not found:
        return {}
    try:
        stamp = json.loads(found[-1].read_bytes())
    except OSError as error:
        raise RunFolderError(f"{found[-1]}: {os_reason(error)}") from None
    except (ValueError, RecursionError):
        raise RunFolderError(f"{found[-1]} is not JSON") from None
    return stamp if isinstance(stamp, dict) else {}


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the last parts of the paths, as many as tell them apart."""
    whole = [path.expanduser().absolute() for path in paths]
    if len(set(whole)) < len(whole):
        twice = next(path for path in whole if whole.count(path) > 1)
        raise UserError(f"{twice} is named twice; name each run once")
    depth = 1
    while len({path.parts[-depth:] for path in whole}) < len(whole):
        depth += 1
    return ["/".join(path.parts[-depth:]) for path in whole]
