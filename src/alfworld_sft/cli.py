"""The command line: reads arguments, builds objects, prints results. Progress and warnings go to stderr."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from alfworld_sft import __version__
from alfworld_sft.check.cli import check_command
from alfworld_sft.collect.cli import collect_command
from alfworld_sft.doctor.cli import doctor_command
from alfworld_sft.errors import UserError
from alfworld_sft.evaluate.cli import evaluate_command
from alfworld_sft.export.cli import export_command
from alfworld_sft.games.cli import games_app
from alfworld_sft.integrations.alfworld.cli import shim
from alfworld_sft.integrations.serve_cli import serve_command
from alfworld_sft.models.smollm2_cli import smollm2_command
from alfworld_sft.play.cli import play_command
from alfworld_sft.report.cli import report_command
from alfworld_sft.show.cli import show_command
from alfworld_sft.signals import sigterm_interrupts
from alfworld_sft.system import check_system
from alfworld_sft.terminal import PrintableFormatter, printable
from alfworld_sft.train.cli import merge_command, train_command
from alfworld_sft.train.tiny_cli import tiny_model

logger = logging.getLogger("alfworld_sft")

app = typer.Typer(
    help="Collect SFT data from ALFWorld text games, and train agents on it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(games_app)
app.command("collect")(collect_command)
app.command("show")(show_command)
app.command("evaluate")(evaluate_command)
app.command("export")(export_command)
app.command("report")(report_command)
app.command("train")(train_command)
app.command("merge")(merge_command)
app.command("check")(check_command)
app.command("play")(play_command)
app.command("doctor")(doctor_command)
app.command("tiny-model")(tiny_model)
app.command("smollm2")(smollm2_command)
app.command("serve")(serve_command)
app.command("shim")(shim)


def main() -> None:
    """Run the command line; an error that the user can fix becomes one line and exit code 2."""
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(levelname)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        check_system()
        with sigterm_interrupts():
            app()
    except UserError as error:
        for line in str(error).splitlines():
            typer.echo(f"error: {printable(line)}", err=True)
        sys.exit(2)


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Collect SFT data from ALFWorld text games."""
    if show:
        typer.echo(f"alfworld-sft {__version__}")
        raise typer.Exit
