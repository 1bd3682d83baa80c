"""`alfworld-sft games …`: list games, fetch the official ones, generate new ones.

Results go to stdout, progress to stderr.
"""

import os
import shlex
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from alfworld_sft.counts import counted
from alfworld_sft.errors import UserError
from alfworld_sft.games.generator.facts import ROOMS
from alfworld_sft.games.generator.write import SHARES, check_options, divide, write_games
from alfworld_sft.games.layout import default_data_dir
from alfworld_sft.games.official.archives import URLS_VARIABLE, archives_from
from alfworld_sft.games.official.fetch import Fetched, fetch
from alfworld_sft.games.refs import Games, SkippedFile, skipped_in_words
from alfworld_sft.games.sources import NoUsableGamesError, find_all_games, find_games
from alfworld_sft.terminal import printable
from alfworld_sft.types import SHORT_NAMES, TASK_TYPES

games_app = typer.Typer(name="games", help="List, fetch and generate games.", no_args_is_help=True)


SourceOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Data folder, folder of *.tw-pddl files, one file, or 'embedded'."
        " Default: $ALFWORLD_DATA, else the embedded games."
    ),
]


@games_app.command("list")
def list_games(
    source: SourceOption = None,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    skipped: Annotated[
        bool, typer.Option("--skipped", help="Also print every skipped file with its reason, one per line.")
    ] = False,
) -> None:
    """Show the number of games by split and task type, their location, and how many files were skipped."""
    try:
        found = [find_games(source, split)] if split else find_all_games(source)
    except NoUsableGamesError as error:
        if skipped:
            _print_skipped(error.skipped_files)
        raise
    Console(soft_wrap=True).print(counts_table(found))
    for games in found:
        reasons = skipped_in_words(games.skipped)
        typer.echo(printable(games.description) + (f"; skipped: {reasons}" if reasons else ""))
    if skipped:
        _print_skipped(file for games in found for file in games.skipped_files)


def _print_skipped(files: Iterable[SkippedFile]) -> None:
    for file in dict.fromkeys(files):
        typer.echo(printable(str(file)))


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
        typer.Option("--from", help="Unpack a local copy of an archive instead of downloading it. Repeatable."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Data folder. Default: $ALFWORLD_DATA, else ~/.cache/alfworld.")
    ] = None,
    url: Annotated[
        list[str] | None,
        typer.Option(help=f"Download from here instead of the official addresses (or ${URLS_VARIABLE}). Repeatable."),
    ] = None,
    sha256: Annotated[
        list[str] | None,
        typer.Option(
            help="Expected SHA-256 of each archive. None is published officially: without this option the first fetch"
            " records the hash in fetched.json, and later ones must match it."
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Fetch again, and replace files that differ.")] = False,
) -> None:
    """Fetch the official games; run it again to resume if interrupted."""
    archives = archives_from(urls=url or (), local=local or (), sha256=sha256 or ())
    folder = to.expanduser() if to else default_data_dir()
    try:
        with _progress() as progress:
            fetched = fetch(archives, folder, force=force, on_progress=_Bars(progress).update)
    except KeyboardInterrupt:
        typer.echo("interrupted; run the same command again to resume", err=True)
        raise typer.Exit(130) from None
    for line in map(_describe, fetched):
        typer.echo(line)
    list_games(str(folder))
    if str(folder.absolute()) != os.environ.get("ALFWORLD_DATA"):
        typer.echo(f"to play them: export ALFWORLD_DATA={shlex.quote(str(folder.absolute()))}")


@games_app.command("generate")
def generate_command(
    folder: Annotated[Path, typer.Argument(help="A new folder, or an empty one.")],
    num: Annotated[int, typer.Option(help="Number of games over all splits (8 : 1 : 1).")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed; the same seed and options give the same games.")] = 0,
    task_types: Annotated[
        list[str] | None, typer.Option(help=f"Only these, separated by commas: {', '.join(TASK_TYPES)}.")
    ] = None,
    rooms: Annotated[list[str] | None, typer.Option(help=f"Only these: {', '.join(ROOMS)}.")] = None,
    difficulty: Annotated[
        str, typer.Option(help="easy, normal (like the real games), hard, or a number from 0 to 2.")
    ] = "normal",
    splits: Annotated[list[str] | None, typer.Option(help=f"Only these: {', '.join(SHARES)}.")] = None,
) -> None:
    """Generate games in ALFWorld's layout; any tool that plays the official games plays these."""
    sizes = divide(num, _chosen("split", splits, tuple(SHARES)) or tuple(SHARES))
    chosen_types, chosen_rooms = _chosen("task type", task_types, TASK_TYPES), _chosen("room", rooms, ROOMS)
    check_options(folder, chosen_types, chosen_rooms, difficulty)
    columns = (TextColumn("generating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("generating", total=num)
        write_games(
            folder,
            sizes,
            seed,
            task_types=chosen_types,
            rooms=chosen_rooms,
            difficulty=difficulty,
            on_game=lambda: progress.advance(task),
        )
    list_games(str(folder))
    typer.echo(f"to play them: export ALFWORLD_DATA={shlex.quote(str(folder.expanduser().absolute()))}")


Name = TypeVar("Name", bound=str)


def _chosen(what: str, given: Iterable[str] | None, known: Sequence[Name]) -> tuple[Name, ...] | None:
    """Read repeated, comma-separated names; None where none are given. Raises UserError for an unknown one."""
    if given is None:
        return None
    names = [name.strip() for words in given for name in words.split(",") if name.strip()]
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
            raise UserError(f"unknown {what} {name!r}; {hint}")
    if not names:
        raise UserError(f"no {what} is named; there are {', '.join(known)}")
    return tuple(name for name in known if name in names)


def _describe(archive: Fetched) -> str:
    files, size = counted(archive.files, "file"), counted(archive.size_bytes, "byte")
    return f"{archive.name}: {files}, {size}, sha256 {archive.sha256}"


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


class _Bars:
    """One progress bar per activity, created at its first update."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def update(self, what: str, done: int, total: int | None) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what)
        self._progress.update(self._tasks[what], completed=done, total=total)
