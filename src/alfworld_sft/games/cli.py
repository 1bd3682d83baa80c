"""`alfworld-sft games …`: list the games at hand, fetch the official ones. Results go to stdout, progress to stderr."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from alfworld_sft.games.fetch import URLS_VARIABLE, Fetched, archives_from, fetch
from alfworld_sft.games.layout import default_data_dir
from alfworld_sft.games.sources import Games, find_all_games, find_games
from alfworld_sft.types import TASK_TYPES, TaskType

games_app = typer.Typer(name="games", help="Where games come from: list them, fetch them.", no_args_is_help=True)

SHORT_NAMES: dict[TaskType | None, str] = dict(
    zip((*TASK_TYPES, None), ("Pick", "Look", "Clean", "Heat", "Cool", "Pick two", "?"), strict=True)
)
"""Task types as tables name them."""


@games_app.command("list")
def list_games(
    source: Annotated[
        str | None, typer.Option(help="Data folder, folder of *.tw-pddl files, or one file. Default: $ALFWORLD_DATA.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
) -> None:
    """Show how many games there are, by split and task type, and where they lie."""
    found = [find_games(source, split)] if split else find_all_games(source)
    Console(soft_wrap=True).print(counts_table(found))
    for games in found:
        skipped = ", ".join(f"{count} {reason}" for reason, count in games.skipped.items())
        typer.echo(games.description + (f"; skipped: {skipped}" if skipped else ""))


def counts_table(found: list[Games]) -> Table:
    """Return a table with one row for each split and one column for each task type."""
    columns = [t for t in SHORT_NAMES if t is not None or any(None in games.counts for games in found)]
    table = Table(box=None, pad_edge=False)
    table.add_column("split")
    for task_type in columns:
        table.add_column(SHORT_NAMES[task_type], justify="right")
    table.add_column("all", justify="right")
    for games in found:
        table.add_row(games.split, *(str(games.counts.get(t, 0)) for t in columns), str(len(games)))
    return table


@games_app.command("fetch")
def fetch_games(
    local: Annotated[
        list[Path] | None,
        typer.Option("--from", help="A local copy of an archive, instead of the internet. Repeatable."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Data folder. Default: $ALFWORLD_DATA, else ~/.cache/alfworld.")
    ] = None,
    url: Annotated[
        list[str] | None,
        typer.Option(help=f"Another address than the official ones (or ${URLS_VARIABLE}). Repeatable."),
    ] = None,
    sha256: Annotated[
        list[str] | None,
        typer.Option(
            help="What each archive's SHA-256 must be. None is published officially: without this option the first"
            " fetch trusts what it gets and records it in fetched.json, and later ones must get the same."
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Fetch again, and replace files that differ.")] = False,
) -> None:
    """Fetch the official games; run it again after a break and it goes on where it stopped."""
    archives = archives_from(urls=url or (), local=local or (), sha256=sha256 or ())
    folder = to or default_data_dir()
    try:
        with _progress() as progress:
            fetched = fetch(archives, folder, force=force, on_progress=_Bars(progress).update)
    except KeyboardInterrupt:
        typer.echo("interrupted; run the same command again to go on", err=True)
        raise typer.Exit(130) from None
    for line in map(_describe, fetched):
        typer.echo(line)
    list_games(str(folder))
    if folder.absolute() != default_data_dir().absolute():
        typer.echo(f"to play them: export ALFWORLD_DATA={folder.absolute()}")


def _describe(archive: Fetched) -> str:
    return f"{archive.name}: {archive.files} files, {archive.size_bytes} bytes, sha256 {archive.sha256}"


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


class _Bars:
    """One progress bar for each thing that is done, made when it is first heard of."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def update(self, what: str, done: int, total: int | None) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what)
        self._progress.update(self._tasks[what], completed=done, total=total)
