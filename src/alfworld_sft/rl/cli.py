"""What does `alfworld-sft rl` do? Torch is imported only when needed."""

from __future__ import annotations

from typing import Annotated

import typer

from alfworld_sft.config import key_table
from alfworld_sft.rl.config import RLConfig, build_rl_config
from alfworld_sft.rl.inputs import check_inputs
from alfworld_sft.train.cli import refuse_second_launcher, report_run, start_processes
from alfworld_sft.train.packages import require_training_packages


def rl_command(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Dotted overrides such as model.path=CHECKPOINT or rl.advantage=gigpo; see --keys."),
    ] = None,
    keys: Annotated[bool, typer.Option("--keys", help="Print all keys with their defaults, and exit.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check options and games, and exit before loading anything.")
    ] = False,
) -> None:
    """Improve a fine-tuned model by reinforcement learning: it plays games, and is trained on its own episodes.

    For several processes on this machine: trainer.processes=N. On several machines: python -m
    alfworld_sft.train.launch … -m alfworld_sft.rl key=value…, which is torchrun with its own options.
    """
    if keys:
        typer.echo(key_table(RLConfig))
        return
    config = build_rl_config(overrides or [])
    refuse_second_launcher(config)
    check_inputs(config)
    require_training_packages()
    if dry_run:
        return
    start_processes(["alfworld_sft.rl", *(overrides or [])], config, lambda: config.rl.games_per_step)
    from alfworld_sft.rl.run import reinforce  # noqa: PLC0415

    report_run(config, lambda: reinforce(config))
