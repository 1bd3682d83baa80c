"""What do the commands that play share? Progress, options that a resumed run rejects, unknown cost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from alfworld_sft.config import dotted_keys
from alfworld_sft.counts import counted, noun_for
from alfworld_sft.errors import ConfigError
from alfworld_sft.policies.config import PolicySection
from alfworld_sft.runs.config import RunConfig
from alfworld_sft.runs.job import ConfigT, Job
from alfworld_sft.runs.progress import progress_bar
from alfworld_sft.runs.store import RunFolder, resume_command
from alfworld_sft.runs.trust import NAMEABLE, Allowed, read_allowed
from alfworld_sft.types import Episode
from alfworld_sft.usage import Usage

logger = logging.getLogger(__name__)


@contextmanager
def watched(job: Job[ConfigT]) -> Iterator[Callable[[Episode | None], None]]:
    """Log the policy and games, show progress, and close the run; Ctrl-C prints how to resume, and exits with 130."""
    run = job.run
    logger.info("playing %s, as %s", job.games.description, job.policy.name)
    if job.games.warning:
        logger.warning("%s", job.games.warning)
    try:
        with run, progress_bar(run, job.total) as on_episode:
            yield on_episode
    except KeyboardInterrupt:
        typer.echo(
            f"stopped after {run.played} of {counted(job.total, 'episode')};"
            f" resume with: {resume_command(run.kind, run.path)}",
            err=True,
        )
        raise typer.Exit(130) from None


def refuse_options_of_resumed(
    resume: Path | None,
    model: type[RunConfig],
    words: Sequence[str],
    name: str | None,
    output_dir: Path,
    *,
    trust: bool,
) -> Allowed:
    """Return what a resumed run may use; raises ConfigError for options of new runs only or resumed runs only."""
    if resume is None:
        if trust:
            raise ConfigError("--trust goes with --resume only")
        return Allowed()
    nameable = NAMEABLE.keys() & set(dotted_keys(model))
    others = [word for word in words if word.lstrip("+").partition("=")[0] not in nameable]
    if others or name or output_dir != Path():
        given = " ".join(others) or name or f"--output-dir {output_dir}"
        raise ConfigError(f"--resume {resume} uses that run's own config; leave out: {given}")
    return read_allowed(words, trust=trust)


def warn_of_unknown_cost(policy: PolicySection, usage: Usage) -> None:
    """Warn if prices are known but token counts are not."""
    if policy.prices and not usage.replies:
        logger.warning("no reply came with token counts, so the run's cost is unknown")


def warn_of_failures(run: RunFolder, *, count_as_lost: bool = False) -> None:
    """Warn of failed episodes, with the first reason, and that they `count_as_lost` where they do."""
    failed = run.failed
    if not failed:
        return
    index, reason = next(iter(failed.items()))
    lost = f" and {noun_for(len(failed), 'counts', 'count')} as lost" if count_as_lost else ""
    logger.warning(
        "%s failed%s (episode %d: %s); to play %s: %s",
        counted(len(failed), "episode"), lost, index, reason,
        noun_for(len(failed), "it", "them"), resume_command(run.kind, run.path),
    )  # fmt: skip


RayAddress: TypeAlias = Annotated[
    str | None,
    typer.Option("--ray", metavar="ADDRESS", help="Play on Ray: local, auto (this machine's cluster) or HOST:PORT."),
]
"""An option of the commands that play."""

RunName: TypeAlias = Annotated[str | None, typer.Option(help="Name of the run's folder, instead of the default.")]
"""An option of the commands that make a run."""

ResumedRun: TypeAlias = Annotated[
    Path | None, typer.Option(help="Resume the run in this folder with its saved config.")
]
"""An option of the commands that resume."""

TrustStored: TypeAlias = Annotated[
    bool,
    typer.Option("--trust", help="With --resume: start, contact and load whatever the run's run.json names."),
]
"""An option of the commands that resume."""
