"""How does a training run begin? Its processes, its folder, and the checkpoint that it resumes from."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from transformers import logging as transformers_logging

from alfworld_sft.errors import UserError, os_reason
from alfworld_sft.files import remove_partial
from alfworld_sft.models.stamp import CheckpointError
from alfworld_sft.train import checkpoint as checkpoints
from alfworld_sft.train.checkpoint import Checkpoint
from alfworld_sft.train.config import TrainingConfig
from alfworld_sft.train.distributed import Ranks, join_processes
from alfworld_sft.train.folder import START, output_folder
from alfworld_sft.train.log import METRICS_FILE, TENSORBOARD, require_loggers

logger = logging.getLogger(__name__)

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""malloc.h's numbers of two mallopt settings."""


@contextmanager
def run_session(config: TrainingConfig) -> Iterator[Ranks]:
    """Join the run's processes and hold its folder; every process must enter it. Raises UserError."""
    require_loggers(config.trainer.logger)
    with join_processes(config.trainer.device) as ranks, output_folder(config.local_dir, ranks):
        _quiet_logs(ranks)
        _keep_freed_memory()
        yield ranks


def find_checkpoint(config: TrainingConfig, ranks: Ranks) -> Checkpoint | None:
    """Return the checkpoint to resume from; rank 0 looks for it, so that all processes agree.

    Raises UserError, also for a model that lies where this run would write.
    """
    found: Checkpoint | UserError | None = None
    if ranks.first:
        try:
            found = _look_for_checkpoint(config.local_dir, config.trainer.resume_mode)
            _refuse_own_model(config, resumes=found is not None)
        except UserError as error:
            found = error
        except OSError as error:
            found = UserError(f"trainer.default_local_dir={config.local_dir}: {os_reason(error)}")
    found = ranks.share(found)
    if isinstance(found, UserError):
        raise found
    return found


def _look_for_checkpoint(folder: Path, mode: str) -> Checkpoint | None:
    remove_partial(folder)
    if mode == "auto":
        return checkpoints.newest_checkpoint(folder)
    if mode == "disable":
        checkpoints.refuse_existing(folder)
        return None
    return checkpoints.open_checkpoint(Path(mode).expanduser())


def _refuse_own_model(config: TrainingConfig, *, resumes: bool) -> None:
    """Raise UserError for a model that the run would replace by its own, or set aside."""
    model, folder = Path(config.model.partial_pretrain).expanduser(), config.local_dir
    written = {checkpoints.FINAL} if resumes else {checkpoints.FINAL, START}
    place, root = model.resolve(), folder.resolve()
    if place in {*(root / name for name in written), *checkpoints.checkpoint_folders(root)} and place.is_dir():
        raise UserError(
            f"model.path={model} lies in trainer.default_local_dir={folder}, where this run writes its own;"
            " name another trainer.default_local_dir"
        )


def refuse_shorter(config: TrainingConfig, key: str, total: int, start: Checkpoint | None) -> None:
    """Raise CheckpointError if more steps are done than configured: the final model would be of the longer run.

    `key` is the option of the trainer that makes `total` steps.
    """
    if start is None or start.position.step <= total:
        return
    raise CheckpointError(
        f"trainer.{key}={getattr(config.trainer, key)} makes {total} steps, but {start.path} has"
        f" {start.position.step} already; for a shorter run, resume from an earlier checkpoint:"
        " trainer.resume_mode=PATH/global_step_N"
    )


def move_later_aside(folder: Path, start: Checkpoint | None, ranks: Ranks) -> None:
    """Move checkpoints out of the run's folder unless its next steps continue from them."""
    problem = None
    if ranks.first:
        try:
            _move_aside(folder, start)
        except OSError as error:
            problem = f"{folder}: later checkpoints cannot be moved to {checkpoints.ASIDE}/: {os_reason(error)}"
    problem = ranks.share(problem)
    if problem:
        raise CheckpointError(problem)


def _move_aside(folder: Path, start: Checkpoint | None) -> None:
    """Keep the checkpoints that lead to the start; if it is in another folder, none here does.

    What was logged here is then no part of what begins, also of a run that saved nothing.
    """
    own = start is not None and start.path.resolve().parent == folder.resolve()
    step = start.position.step if start and own else 0
    aside = checkpoints.set_aside_later(
        folder, step, copied=[METRICS_FILE] if own else [], moved=[] if own else [METRICS_FILE, TENSORBOARD]
    )
    if aside is None:
        return
    begins = f"training resumes from {start.path}" if start else "training begins anew"
    logger.warning("%s; what this folder held of later steps was moved to %s", begins, aside)


def _keep_freed_memory() -> None:
    """Make glibc reuse memory freed by a step: on a CPU, page faults otherwise take a tenth of the time."""
    with suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _quiet_logs(ranks: Ranks) -> None:
    """Let only rank 0 log, and hide the libraries' progress bars."""
    transformers_logging.disable_progress_bar()
    if not ranks.first:
        logging.getLogger("alfworld_sft").setLevel(logging.ERROR)
