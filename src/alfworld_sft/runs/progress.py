"""How far is a run? Shown on stderr while it plays, and when it is stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from alfworld_sft.counts import counted
from alfworld_sft.runs.runner import RunCounts
from alfworld_sft.runs.store import RunFolder
from alfworld_sft.types import Episode

logger = logging.getLogger(__name__)

LOG_INTERVAL_S = 10.0
"""Interval of progress lines when there is no terminal for a progress bar."""


@contextmanager
def progress_bar(run: RunFolder, total: int) -> Iterator[Callable[[Episode | None], None]]:
    """Show a run's progress: a bar on a terminal, occasional lines elsewhere."""
    tally = RunCounts(total, played=run.played)
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
