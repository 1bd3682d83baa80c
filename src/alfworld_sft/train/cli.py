"""What do `alfworld-sft train` and `merge` do? Torch is imported only when needed."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alfworld_sft.config import key_table
from alfworld_sft.errors import UserError
from alfworld_sft.signals import INTERRUPTED, TERMINATED, sigterm_came
from alfworld_sft.train.config import TrainConfig, TrainingConfig, build_train_config
from alfworld_sft.train.packages import require_training_packages
from alfworld_sft.types import DType

if TYPE_CHECKING:
    from alfworld_sft.train.learner import TrainingResult

TORCHRUN_WAIT_S = 20.0
"""Seconds that ranks other than 0 wait before reporting an error: rank 0 usually reports the same one, or has already
exited with the cause, and torchrun then ends the others."""


def train_command(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Dotted overrides such as optim.lr=5e-4 or +model.lora_rank=64; see --keys."),
    ] = None,
    keys: Annotated[bool, typer.Option("--keys", help="Print all keys with their defaults, and exit.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check options and files, and exit before loading anything.")
    ] = False,
    checked: Annotated[bool, typer.Option(hidden=True, help="The files were checked by who started this.")] = False,
) -> None:
    """Fine-tune a model on a dataset: LoRA or all weights, single turns or full conversations.

    For several processes on this machine: trainer.processes=N. On several machines: python -m
    alfworld_sft.train.launch … -m alfworld_sft.train key=value…, which is torchrun with its own options.
    """
    if keys:
        typer.echo(key_table(TrainConfig))
        return
    from alfworld_sft.train.data.inputs import check_inputs, shares_of_step  # noqa: PLC0415
    from alfworld_sft.train.eval_games import find_eval_games  # noqa: PLC0415

    config = build_train_config(overrides or [])
    refuse_second_launcher(config)
    if not checked:
        check_inputs(config)
        if config.trainer.eval_games:
            find_eval_games(config)
    require_training_packages()
    if dry_run:
        return
    start_processes(["alfworld_sft.train", "--checked", *(overrides or [])], config, lambda: shares_of_step(config))
    from alfworld_sft.train.loop import train  # noqa: PLC0415

    report_run(config, lambda: train(config))


def report_run(config: TrainingConfig, run: Callable[[], TrainingResult]) -> None:
    """Run a training and print its final model; one that was stopped says how to resume it, and exits."""
    from alfworld_sft.train.learner import StoppedError  # noqa: PLC0415

    first = os.environ.get("RANK", "0") == "0"
    try:
        trained = run()
    except StoppedError as stopped:
        if first:
            typer.echo(f"{stopped}; {_resume_hint(config)}", err=True)
        raise typer.Exit(TERMINATED) from None
    except Exception as error:
        if not first or _is_lost_peer(error):
            _wait_for_torchrun(error)
        raise
    except KeyboardInterrupt:
        if first:
            typer.echo(_interruption_message(config), err=True)
        raise typer.Exit(INTERRUPTED) from None
    if first:
        typer.echo(trained.final)


def refuse_second_launcher(config: TrainingConfig) -> None:
    """Raise UserError if processes are to be started by one that torchrun has started."""
    if config.trainer.processes != 1 and "RANK" in os.environ:
        raise UserError(f"trainer.processes={config.trainer.processes}: torchrun has started processes; leave it out")


def start_processes(words: Sequence[str], config: TrainingConfig, shares: Callable[[], int]) -> None:
    """Become the launcher of `trainer.processes` processes, each with its share of the cores; return for only one.

    `words` are a module and its arguments, `shares` returns into how many parts a step can be divided.
    """
    if config.trainer.processes == 1:
        return
    from alfworld_sft.system import usable_cores  # noqa: PLC0415
    from alfworld_sft.train.processes import count_processes  # noqa: PLC0415

    processes = count_processes(config, shares())
    if processes == 1:
        return
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))
    launcher = [sys.executable, "-m", "alfworld_sft.train.launch", "--standalone", f"--nproc_per_node={processes}"]
    os.execv(sys.executable, [*launcher, "-m", *words, "trainer.processes=1"])  # noqa: S606 - signals then reach the launcher itself


def _wait_for_torchrun(error: Exception) -> None:
    """Wait for torchrun to end this process if rank 0 has failed: an error about lost peers is not worth reporting."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sigterm_came() and isinstance(error, RuntimeError):
        raise typer.Exit(TERMINATED) from None
    time.sleep(TORCHRUN_WAIT_S)


def _is_lost_peer(error: Exception) -> bool:
    """Return whether an exchange failed because another process has ended; the launcher says so."""
    return isinstance(error, RuntimeError) and "closed by peer" in str(error)


def _interruption_message(config: TrainingConfig) -> str:
    """Return a message naming the checkpoint that an interrupted run left."""
    from alfworld_sft.train.checkpoint import last_step  # noqa: PLC0415

    step = last_step(config.local_dir)
    if step is None:
        return "stopped before the first checkpoint; nothing was saved"
    return f"stopped; the last checkpoint is {config.local_dir}/global_step_{step}; {_resume_hint(config)}"


def _resume_hint(config: TrainingConfig) -> str:
    auto = config.trainer.resume_mode == "auto"
    return f"resume from there with the same command{'' if auto else ' and trainer.resume_mode=auto'}"


def merge_command(
    checkpoint: Annotated[Path, typer.Argument(help="A run's global_step_N or final, or another PEFT adapter.")],
    output: Annotated[Path, typer.Argument(help="Folder of the merged model.")],
    base: Annotated[str | None, typer.Option(help="Path of the base model, if it has moved.")] = None,
    dtype: Annotated[
        DType,
        typer.Option(help="Dtype of the stored weights; auto: that of an adapter's base, or of a full model itself."),
    ] = "auto",
) -> None:
    """Merge an adapter into its base model; transformers and vLLM load the result by its path."""
    require_training_packages()
    from alfworld_sft.models.merge import merge  # noqa: PLC0415

    typer.echo(merge(checkpoint, output, base=base, dtype=dtype))
