"""What makes up a run in progress, and how is it played in this process?

`start` makes a Job for a new run, `resume` for one that was stopped; `play` plays the owed episodes;
`resumable_on_failure` reports how to resume if that fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from alfworld_sft.counts import counted, noun_for
from alfworld_sft.errors import PolicyUnavailableError, RunFolderError
from alfworld_sft.games import GENERATE, GameSource, GameStream, find_games
from alfworld_sft.policies.base import Policy, in_service
from alfworld_sft.policies.llm.open_files import allow_connections
from alfworld_sft.prompts.template import Template
from alfworld_sft.runs.config import GamesToPlay, RunConfig
from alfworld_sft.runs.rollout import Protocol
from alfworld_sft.runs.run_json import keep_sampling
from alfworld_sft.runs.runner import run_episodes
from alfworld_sft.runs.store import RunFolder, resume_command
from alfworld_sft.types import Episode

ConfigT = TypeVar("ConfigT", bound=RunConfig)


class Chosen(NamedTuple):
    """The games to play, and the number of episodes."""

    games: GameSource
    total: int


@dataclass(frozen=True, slots=True)
class Job(Generic[ConfigT]):
    """A run with everything needed to play it."""

    run: RunFolder
    config: ConfigT
    games: GameSource
    template: Template
    policy: Policy
    total: int


Play: TypeAlias = Callable[[Job[Any], Callable[[Episode | None], None]], None]
"""Plays a run's owed episodes into its journal and reports each one: `play`, or an equivalent on other machines."""


def play(job: Job[ConfigT], on_episode: Callable[[Episode | None], None]) -> None:
    """Play the run's owed episodes in this process; raises PolicyUnavailableError if the policy is unavailable."""
    config = job.config
    if config.policy.name == "server":
        allow_connections(min(config.runner.concurrency, job.total))

    def note_sampling_and_tell(episode: Episode | None) -> None:
        keep_sampling(job.run, job.policy.sampling)
        on_episode(episode)

    with in_service(job.policy):
        asyncio.run(
            run_episodes(
                job.run,
                job.total,
                job.games,
                job.policy,
                job.template,
                protocol_of(config),
                seed=config.seed,
                concurrency=config.runner.concurrency,
                on_episode=note_sampling_and_tell,
                probes=config.probes,
            )
        )


@contextmanager
def resumable_on_failure(job: Job[Any]) -> Iterator[None]:
    """Delete the folder of a new run that fails before it has played anything, for any reason.

    Otherwise the folder stays, and a PolicyUnavailableError says how to resume it. It also stays after Ctrl-C and
    RunFolderError, which have their own messages about that.
    """
    try:
        yield
    except (KeyboardInterrupt, RunFolderError):
        raise
    except BaseException as error:
        if job.run.is_new and not job.run.played:
            job.run.remove()
            raise
        if isinstance(error, PolicyUnavailableError):
            played = f"{job.run.played} of {counted(job.total, 'episode')} {noun_for(job.total, 'is', 'are')} played"
            raise PolicyUnavailableError(
                f"{error}; {played}, resume with: {resume_command(job.run.kind, job.run.path)}"
            ) from None
        raise


def protocol_of(config: RunConfig) -> Protocol:
    """Return the protocol for the config's games."""
    return Protocol(config.env.max_steps, config.prompt.form, config.prompt.history_length, config.env.max_repeats)


def games_of(section: GamesToPlay, seed: int) -> GameSource:
    """Return the games of a config, in the seed's order; raises GamesNotFoundError if there are none."""
    if section.source == GENERATE:
        return GameStream(seed, section.split, section.task_types, str(section.difficulty))
    return find_games(section.source, section.split).shuffled(seed, section.task_types)
