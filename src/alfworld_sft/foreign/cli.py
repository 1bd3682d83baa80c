"""`alfworld-sft import`: reads the arguments, imports, prints what became of the records."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from alfworld_sft.collect.cli import success_table
from alfworld_sft.config import build_config, key_table
from alfworld_sft.counts import counted
from alfworld_sft.errors import ConfigError
from alfworld_sft.foreign.build import Result, import_foreign
from alfworld_sft.foreign.config import ImportConfig
from alfworld_sft.foreign.read import Format
from alfworld_sft.foreign.tally import warnings_of
from alfworld_sft.terminal import printable

logger = logging.getLogger(__name__)


def _print_keys(wanted: bool) -> None:
    if wanted:
        typer.echo(key_table(ImportConfig))
        raise typer.Exit


def import_command(
    words: Annotated[
        list[str],
        typer.Argument(metavar="FILE…", help="Files (.json, .jsonl, .parquet), then overrides; see --keys."),
    ],
    kind: Annotated[Format, typer.Option("--format", help="The format of the files.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to make.")],
    _: Annotated[
        bool,
        typer.Option("--keys", is_eager=True, callback=_print_keys, help="Print all keys with their defaults."),
    ] = False,
) -> None:
    """Make a dataset of another project's ALFWorld conversations, replayed in their games."""
    files = [Path(word) for word in words if "=" not in word or os.path.exists(word)]  # noqa: PTH110 - never raises
    overrides = [word for word in words if Path(word) not in files]
    if not files:
        raise ConfigError("no file is named; name what to import before the overrides")
    config = build_config(ImportConfig, overrides)
    _report(import_foreign(files, kind, config, out), config, out)


def _report(result: Result, config: ImportConfig, out: Path) -> None:
    summary, tally = result.summary, result.tally
    Console(soft_wrap=True).print(success_table(summary.success_by_task_type, summary.won, summary.episodes))
    typer.echo(
        f"{tally.imported} of {counted(tally.records, 'record')} imported, {tally.replayed} replayed in their games"
    )
    if dropped := summary.episodes - summary.kept:
        typer.echo(f"{counted(dropped, 'episode')} not known to be won dropped (dataset.require_success)")
    typer.echo(
        f"{counted(summary.rows_train, 'row')} of {counted(summary.games_train, 'game')} for training,"
        f" {summary.rows_val} of {summary.games_val} for validation"
    )
    for line in warnings_of(tally, rewritten=config.prompt.template is not None):
        logger.warning(printable(line))
    if not summary.rows_val and config.dataset.val_fraction:
        logger.warning("nothing is held out for validation: all rows come from one game")
    typer.echo(printable(str(out)))
