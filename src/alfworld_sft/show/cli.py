"""`alfworld-sft show`: a dataset at a glance, one episode, or one row, with tokens and loss where a model is named."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from alfworld_sft.collect.cli import print_contents
from alfworld_sft.counts import counted
from alfworld_sft.dataset.read import Columns, dataset_file, read_rows
from alfworld_sft.dataset.show import read_contents
from alfworld_sft.errors import ConfigError, DatasetError
from alfworld_sft.runs.journal import find_episode
from alfworld_sft.runs.store import JOURNAL, read_stamp
from alfworld_sft.show.draw import draw_episode, draw_row
from alfworld_sft.show.tokens import MULTI_TURN, draw_tokens, rows_for_tokens


def show_command(
    folder: Annotated[Path, typer.Argument(help="A run's folder, or with --row a dataset file.")],
    episode: Annotated[int | None, typer.Option(min=0, help="Show this episode; they count from 0.")] = None,
    row: Annotated[
        int | None, typer.Option(min=0, help="Show this row of train.parquet, or of the file named; from 0.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Also show tokens and loss, with this model's tokenizer.")] = None,
    template: Annotated[str | None, typer.Option(help="The run's template, if it is a file.")] = None,
    no_color: Annotated[bool, typer.Option("--no-color", help="Plain text; a pipe gets it anyway.")] = False,
) -> None:
    """Show what is in a dataset, or one episode, or one row as a trainer reads it."""
    console = Console(no_color=no_color, highlight=False, soft_wrap=True)
    plain = no_color or console.color_system is None
    if episode is not None and row is not None:
        raise ConfigError("--episode and --row show different things: leave one out")
    if template is not None and (episode is None or model is None):
        raise ConfigError(f"--template {template} has no effect without --episode N and --model; leave it out")
    if episode is not None:
        _show_episode(console, folder, episode, model, template, plain=plain)
    elif row is not None:
        _show_row(console, folder, row, model, plain=plain)
    elif model is not None:
        raise ConfigError("--model goes with --episode N or --row N; for a dataset: alfworld-sft check DIR --model …")
    else:
        print_contents(console, folder, read_contents(folder))


def _show_episode(
    console: Console, folder: Path, number: int, model: str | None, template: str | None, *, plain: bool
) -> None:
    stamp = read_stamp(folder)
    episode = find_episode(folder / JOURNAL, number)
    if model is None:
        console.print(draw_episode(episode))
        return
    for drawn in draw_tokens(rows_for_tokens(episode, stamp, folder, template), model, multiturn=True, plain=plain):
        console.print(drawn)


def _show_row(console: Console, path: Path, number: int, model: str | None, *, plain: bool) -> None:
    file = dataset_file(path, "train.parquet", "DIR")
    forms = (Columns(), MULTI_TURN)
    for columns in forms if model else forms[:1]:
        rows = list(islice(read_rows([file], columns), number, number + 1))
        if not rows:
            total = sum(1 for _ in read_rows([file], columns))
            raise DatasetError(f"{file}: there is no row {number}, only {counted(total, 'row')}; they count from 0")
        if model is None:
            console.print(draw_row(rows[0]))
            continue
        for drawn in draw_tokens(rows, model, multiturn=columns.multiturn, plain=plain):
            console.print(drawn)
