"""How far is a run? Shown on stderr while it plays, and where it was stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from alfworld_sft.config import PolicySection, RunConfig
from alfworld_sft.counts import counted
from alfworld_sft.errors import ConfigError
from alfworld_sft.runner import Tally
from alfworld_sft.runs import Job
from alfworld_sft.store import RunFolder
from alfworld_sft.trust import NAMEABLE, Allowed, read_allowed
from alfworld_sft.types import Episode
from alfworld_sft.usage import Usage

logger = logging.getLogger(__name__)

LOG_INTERVAL_S = 10.0
"""How often progress is logged where there is no terminal to draw a bar on."""


Config = TypeVar("Config", bound=RunConfig)

TrustStored: TypeAlias = Annotated[
    bool,
    typer.Option("--trust", help="With --resume: start, contact and load what this run's own run.json names."),
]
"""The option of the commands that resume."""


def printable(text: str) -> str:
    """Return a text whose control characters are spelt out: one from a file must not steer the user's terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class PrintableFormatter(logging.Formatter):
    """Formats records for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line, without control characters."""
        return printable(super().format(record))


@contextmanager
def watched(job: Job[Config]) -> Iterator[Callable[[Episode | None], None]]:
    """Say what is played, show how far it is, and close the run; Ctrl-C says how to go on, and exits with 130."""
    run = job.run
    logger.info("playing %s, as %s", job.games.description, job.policy.name)
    if job.games.warning:
        logger.warning("%s", job.games.warning)
    try:
        with run, shown_progress(run, job.total) as on_episode:
            yield on_episode
    except KeyboardInterrupt:
        typer.echo(
            f"stopped after {run.played} of {counted(job.total, 'episode')};"
            f" go on with: alfworld-sft {run.kind} --resume {run.path}",
            err=True,
        )
        raise typer.Exit(130) from None


def refuse_options_of_resumed(resume: Path | None, words: Sequence[str], name: str | None, *, trust: bool) -> Allowed:
    """Return what a resumed run may use; raises ConfigError for options that only a new or a resumed run can take."""
    if resume is None:
        if trust:
            raise ConfigError("--trust goes with --resume only")
        return Allowed()
    others = [word for word in words if word.lstrip("+").partition("=")[0] not in NAMEABLE]
    if others or name:
        raise ConfigError(
            f"--resume {resume} goes on with that run's own config; leave out: {' '.join(others) or name}"
        )
    return read_allowed(words, trust=trust)


def warn_of_unknown_cost(policy: PolicySection, usage: Usage) -> None:
    """Say so where prices are known and token counts are not."""
    if policy.prices and not usage.replies:
        logger.warning("no reply came with token counts, so what the run cost cannot be told")


@contextmanager
def shown_progress(run: RunFolder, total: int) -> Iterator[Callable[[Episode | None], None]]:
    """Show how far a run is: a bar on a terminal, now and then a line elsewhere."""
    tally = Tally(total, played=run.played)
    tally.won = sum(1 for _ in filter(lambda episode: episode.success, run.episodes())) if tally.played else 0
    console = Console(stderr=True)
    started, played_before = time.monotonic(), tally.played

    def described() -> str:
        speed = (tally.played - played_before) / max(time.monotonic() - started, 1e-9)
        failed = f", {tally.failed} failed" if tally.failed else ""
        return f"{tally.success_rate:.1%} won{failed}, {counted(round(speed), 'episode')}/s"

    if not console.is_terminal:
        last = started

        def log(episode: Episode | None) -> None:
            nonlocal last
            tally.add(episode)
            if time.monotonic() - last >= LOG_INTERVAL_S:
                last = time.monotonic()
                logger.info("%d of %s, %s", tally.played, counted(tally.total, "episode"), described())

        yield log
        logger.info("%d of %s, %s", tally.played, counted(tally.total, "episode"), described())
        return
    columns = (TextColumn("episodes"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(described(), total=tally.total, completed=tally.played)

        def draw(episode: Episode | None) -> None:
            tally.add(episode)
            bar.update(task, completed=tally.played, description=described())

        yield draw
