"""Where do a run's figures go? Console, metrics.jsonl, TensorBoard, wandb; and what are they measured against (MFU)?

One JSON line per step is always written. On resuming, lines of repeated steps are removed, so the file reads like that
of an uninterrupted run.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from alfworld_sft.errors import UserError, file_errors
from alfworld_sft.files import whole_file
from alfworld_sft.strict_json import to_json
from alfworld_sft.train.wandb_run import WANDB_ID, WandbRun

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"
TENSORBOARD, WANDB = "tensorboard", "wandb"
LOGS = (METRICS_FILE, TENSORBOARD, WANDB, WANDB_ID)
"""The files that a RunLog writes in a run's folder."""
_WAY_OUT = "make room or fix its permissions; the same command then resumes from the last checkpoint"
CONSOLE_INTERVAL_S = 5.0
"""Minimum interval of progress on the console; the first and the last step are always shown."""


def require_loggers(loggers: Collection[str]) -> None:
    """Raise UserError if the package of a requested log is not installed."""
    for name in ("tensorboard", "wandb"):
        if name in loggers and find_spec(name) is None:
            raise UserError(f"trainer.logger names {name}, which is not installed: pip install {name}, or leave it out")


class RunLog:
    """The figures of one run; created by rank 0 only."""

    def __init__(
        self,
        folder: Path,
        loggers: Collection[str],
        *,
        project: str,
        experiment: str,
        config: Mapping[str, Any],
        done: int,
        total: int,
    ) -> None:
        """Open the outputs; `done` of `total` steps are finished. Raises UserError if wandb cannot start."""
        self._console = "console" in loggers
        self._total, self._done_before = total, done
        self._started = self._last_shown = time.monotonic()
        self._folder = folder
        with file_errors("write", folder, _WAY_OUT):
            self._wandb = WandbRun(folder, project, experiment, config) if WANDB in loggers else None
            self._tensorboard = _tensorboard(folder, done) if TENSORBOARD in loggers else None
            keep_lines_until(folder / METRICS_FILE, done)
            self.owes_test = lacks_test(folder / METRICS_FILE, done)
            self._file = (folder / METRICS_FILE).open("a", encoding="utf-8")

    def step(self, step: int, figures: Mapping[str, float | None]) -> None:
        """Log one training step: loss, lr, grad_norm, tokens_per_s and any other figures."""
        self._write(step, {f"train/{key}": value for key, value in figures.items()}, {"step": step, **figures})
        now = time.monotonic()
        if self._console and (
            now - self._last_shown >= CONSOLE_INTERVAL_S or step in (self._done_before + 1, self._total)
        ):
            self._last_shown = now
            logger.info("%s", self._line(step, figures, now))

    def test(self, step: int, figures: Mapping[str, float]) -> None:
        """Log a validation, or a hook's figures at this step."""
        self._write(step, figures, {"step": step, **figures})
        if self._console:
            shown = ", ".join(f"{key.removeprefix('val/')} {value:.4g}" for key, value in figures.items())
            logger.info("step %d validation: %s", step, shown)

    def close(self) -> None:
        """Close all outputs."""
        self._file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.close()

    def _write(self, step: int, scalars: Mapping[str, float | None], record: Mapping[str, float | None]) -> None:
        with file_errors("write", self._folder / METRICS_FILE, _WAY_OUT):
            self._file.write(to_json(record) + "\n")
            self._file.flush()
        known = {key: value for key, value in scalars.items() if value is not None}
        if self._tensorboard is not None:
            for key, value in known.items():
                self._tensorboard.add_scalar(key, value, step)
        if self._wandb is not None:
            self._wandb.log(known, step=step)

    def _line(self, step: int, figures: Mapping[str, float | None], now: float) -> str:
        parts = [f"step {step}/{self._total} ({step / self._total:.0%})"]
        formats = {"epoch": "{:.2f}", "success": "{:.1%}", "loss": "{:.4f}", "lr": "{:.2e}", "grad_norm": "{:.3f}"}
        parts += [f"{key} {form.format(figures[key])}" for key, form in formats.items() if figures.get(key) is not None]
        if figures.get("tokens_per_s") is not None:
            parts.append(f"{figures['tokens_per_s']:,.0f} tokens/s")
        if figures.get("mfu") is not None:
            parts.append(f"MFU {figures['mfu']:.1%}")
        seconds = (now - self._started) / max(1, step - self._done_before) * (self._total - step)
        return "  ".join([*parts, f"{duration(seconds)} left"])


def keep_lines_until(path: Path, step: int) -> None:
    """Remove the lines of later steps, and a torn last one."""
    if not path.exists():
        return
    kept = []
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            if line.endswith(b"\n") and json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    with whole_file(path) as file:
        file.writelines(kept)


def lacks_test(path: Path, step: int) -> bool:
    """Return whether a metrics file has a training step's line but no test result after it."""
    if not path.exists():
        return False
    lines = [line for line in map(json.loads, path.read_bytes().splitlines()) if line["step"] == step]
    return bool(lines) and all("loss" in line for line in lines)


def duration(seconds: float) -> str:
    """Format a time in its two largest units, e.g. 2 h 05 min."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    if hours:
        return f"{hours} h {m:02d} min"
    return f"{m} min {s:02d} s" if m else f"{s} s"


def _tensorboard(folder: Path, done: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - only if requested

    return SummaryWriter(str(folder / TENSORBOARD), purge_step=done + 1)
