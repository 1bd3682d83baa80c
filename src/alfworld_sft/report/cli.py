"""`alfworld-sft report`: runs as one HTML file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from alfworld_sft.counts import counted, size_in_words
from alfworld_sft.errors import ConfigError
from alfworld_sft.report.build import Options, make_report

logger = logging.getLogger(__name__)


def report_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of collect, evaluate or train.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("report.html"),
    model: Annotated[
        str | None, typer.Option(help="Show the tokens of the replies, and which carry loss, for this model.")
    ] = None,
    games: Annotated[
        str | None, typer.Option(help="Where the games are, if not where the runs were played: as games.source.")
    ] = None,
    replay: Annotated[
        bool, typer.Option(help="Replay each episode for distances to the goal and the expert's actions.")
    ] = True,
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Sequence length to mark in the plot of tokens, instead of training's.")
    ] = None,
) -> None:
    """Write one HTML file about runs: figures, plots, and every episode turn by turn. It needs no network."""
    if games is not None and not replay:
        raise ConfigError(f"--games {games} has no effect with --no-replay, which needs no games; leave it out")
    console = Console(stderr=True)
    columns = (TextColumn("episodes"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("episodes", total=None)
        options = Options(model, games, replay, max_length)
        made = make_report(runs, output, options, lambda: progress.advance(task))
    if made.not_found:
        logger.warning(
            "the games of %s were not found, which therefore have no distances; say where they are with --games",
            counted(made.not_found, "episode"),
        )
    if made.differing:
        logger.warning("the world answers %s differently than recorded", counted(made.differing, "episode"))
    typer.echo(f"{output} ({counted(made.episodes, 'episode')}, {size_in_words(output.stat().st_size)})")
