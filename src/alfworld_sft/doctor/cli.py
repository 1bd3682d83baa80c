"""`alfworld-sft doctor`: prints a line for each thing that was looked at; the exit code says whether all is well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from alfworld_sft.counts import counted
from alfworld_sft.doctor.games import judge_games
from alfworld_sft.doctor.line import Line, Verdict
from alfworld_sft.doctor.machine import judge_machine, look_at_machine
from alfworld_sft.doctor.model import judge_model
from alfworld_sft.doctor.packages import installed_requirements, installed_versions, judge_packages, pinned_versions
from alfworld_sft.doctor.server import judge_proxies, judge_server
from alfworld_sft.games import default_data_dir
from alfworld_sft.strict_json import to_json
from alfworld_sft.terminal import printable

_STYLES: dict[Verdict, str] = {"fine": "green", "note": "yellow", "fix": "bold red"}


def doctor_command(
    source: Annotated[
        str | None, typer.Option(help="Games to look at. Default: $ALFWORLD_DATA, else embedded.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A model to load, or that the server should serve.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Address of a server, e.g. http://127.0.0.1:8000/v1.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the lines as JSON.")] = False,
) -> None:
    """Look whether everything is ready: machine, packages, games, and a model or its server if you name one.

    Exit code 0: nothing has to be fixed; 2: something has.
    """
    lines = list(examine(source, model, base_url))
    wrong = sum(line.verdict == "fix" for line in lines)
    if json_:
        typer.echo(to_json({"ok": not wrong, "lines": [line._asdict() for line in lines]}, indent=2))
    else:
        _print(lines)
        typer.echo(f"{counted(wrong, 'thing')} to fix" if wrong else "nothing to fix")
    if wrong:
        raise typer.Exit(2)


def examine(source: str | None, model: str | None, base_url: str | None) -> Iterator[Line]:
    """Yield a line for everything that was looked at."""
    machine = look_at_machine(Path.cwd(), default_data_dir())
    yield from judge_machine(machine)
    yield from judge_packages(installed_requirements(), installed_versions(), pinned_versions())
    yield from judge_games(source)
    yield from judge_proxies(base_url)
    if base_url:
        yield from judge_server(base_url, model)
    elif model:
        yield from judge_model(model, machine.memory)


def _print(lines: list[Line]) -> None:
    console, width = Console(soft_wrap=True, highlight=False), max(len(line.thing) for line in lines)
    for thing, verdict, found, advice in lines:
        text = Text(f"{verdict:5}", _STYLES[verdict])
        text.append(printable(f" {thing:{width}}  {found}").replace("\n", " "), "not bold default")
        if advice:
            text.append(printable(f"\n      {'':{width}}  → {' '.join(advice.split())}"), "not bold default")
        console.print(text)
