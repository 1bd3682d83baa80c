"""An evaluation, from its config to `metrics.json`: `start_evaluation` or `resume_evaluation`, then `evaluate`.

It is a run like collection's, with another choice of games: each of a split's games, `repeats` times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from alfworld_sft.errors import ConfigError, RunFolderError, os_reason
from alfworld_sft.evaluate.compare import METRICS
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.evaluate.metrics import UNKNOWN_TYPE, Metrics, Unplayed, measure
from alfworld_sft.evaluate.worldmodel import WorldModelScore, score_predictions
from alfworld_sft.files import whole_file
from alfworld_sft.games import GENERATE, ShuffledGames
from alfworld_sft.runs.job import (
    Chosen,
    Job,
    Play,
    finished_stamp,
    games_of,
    kept_for_later,
    play,
    resume_job,
    start_job,
)
from alfworld_sft.runs.trust import Allowed
from alfworld_sft.strict_json import to_json
from alfworld_sft.types import Episode

EvaluateJob: TypeAlias = Job[EvaluateConfig]
STAMPED = ("versions", "config", "policy", "sampling", "games", "protocol")
"""What `metrics.json` takes over from the run's stamp, to be of use alone."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation found. `world_model` is None where the template asks for no prediction."""

    metrics: Metrics
    world_model: WorldModelScore | None


def start_evaluation(config: EvaluateConfig, output_dir: Path, *, name: str | None = None) -> EvaluateJob:
    """Check everything that can be checked, then make the run's folder; raises UserError before it exists."""
    named = {} if config.protocol is None else {"protocol": config.protocol}
    notes: dict[str, dict[str, Any]] = {"protocol": {**named, "repeats": config.repeats}}
    return start_job("evaluate", config, _choose, output_dir, name=name, notes=notes)


def resume_evaluation(path: Path, allowed: Allowed | None = None) -> EvaluateJob:
    """Open an evaluation that was stopped, as `runs.resume_job` does."""
    return resume_job("evaluate", EvaluateConfig, _choose, path, allowed)


def evaluate(
    job: EvaluateJob, on_episode: Callable[[Episode | None], None] = lambda _: None, play: Play = play
) -> Evaluation:
    """Play what the run still owes, then write `metrics.json` and the final stamp.

    The journal is read an episode at a time, so memory grows with the number of games only.
    """
    run = job.run
    with kept_for_later(job):
        play(job, on_episode)
    metrics = measure(run.episodes(), _unplayed(job))
    world_model = score_predictions(run.episodes) if "prediction" in job.template.tags else None
    stamp = finished_stamp(run)
    content: dict[str, Any] = {
        "status": stamp["status"],
        "stamp": {key: stamp[key] for key in STAMPED},
        **metrics.as_dict(),
        "world_model": world_model.as_dict() if world_model else None,
        "usage": metrics.usage.with_cost(job.config.policy.prices) if metrics.usage.replies else None,
    }
    try:
        with whole_file(run.path / METRICS) as file:
            file.write(to_json(content, indent=2).encode() + b"\n")
        run.write_stamp(stamp)
    except OSError as error:
        raise RunFolderError(
            f"{run.path}: {os_reason(error)}; all episodes are safe; fix that, then:"
            f" alfworld-sft evaluate --resume {run.path}"
        ) from None
    return Evaluation(metrics, world_model)


def _unplayed(job: EvaluateJob) -> Iterator[Unplayed]:
    """Yield the episodes that ended in an error, with the games that they were to play."""
    for index in sorted(job.run.failed):
        if index < job.total:
            ref = job.games.ref(index)
            yield Unplayed(index, ref.id, ref.task_type or UNKNOWN_TYPE)


def _choose(config: EvaluateConfig) -> Chosen:
    games = choose_games(config)
    return Chosen(games, games.total * config.repeats)


def choose_games(config: EvaluateConfig) -> ShuffledGames:
    """Return the games that an evaluation plays; raises UserError where there are none."""
    games = games_of(config.games, config.seed)
    number = games.total if config.num_games is None else config.num_games
    if number is None:
        raise ConfigError(f"games.source={GENERATE} has no end: say how many games to play with num_games=N")
    return games.first(number)
