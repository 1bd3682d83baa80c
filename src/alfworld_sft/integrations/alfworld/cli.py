"""`alfworld-sft shim`: write packages that stand in for alfworld and textworld, or check what a program needs."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from alfworld_sft.counts import counted
from alfworld_sft.errors import UserError
from alfworld_sft.integrations.alfworld.shim import find_imports, write_shim


def shim(
    paths: Annotated[list[Path], typer.Argument(help="A new folder; with --check, Python files.")],
    check: Annotated[
        bool,
        typer.Option("--check", help="Say which names of alfworld and textworld these files use, covered or not."),
    ] = False,
) -> None:
    """Write packages `alfworld` and `textworld` that play our world, for PYTHONPATH; --check exits with 1 where a
    program needs more than they have."""
    if check:
        raise typer.Exit(_check(paths))
    if len(paths) != 1:
        raise UserError(f"give one folder, not {len(paths)}; to check programs: alfworld-sft shim --check FILE.py …")
    write_shim(paths[0])
    typer.echo(f"export PYTHONPATH={shlex.quote(str(paths[0].absolute()))}${{PYTHONPATH:+:$PYTHONPATH}}")


def _check(files: list[Path]) -> int:
    """Print what the files use, and return the exit code: 0 where all of it is covered, else 1."""
    uses = [use for file in files for use in find_imports(file)]
    for use in uses:
        typer.echo(f"{'covered    ' if use.is_covered else 'NOT COVERED'} {use}")
    lacking = sum(not use.is_covered for use in uses)
    typer.echo(f"{counted(len(uses), 'name')} used, {lacking} not covered", err=True)
    return 1 if lacking else 0
