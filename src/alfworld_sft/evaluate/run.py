"""How does an evaluation run, from its config to `metrics.json`?

`start_evaluation` or `resume_evaluation`, then `evaluate`: each game of a split is played `repeats` times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from alfworld_sft.errors import ConfigError, GameFileError
from alfworld_sft.evaluate.compare import RESULT_FILE
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.evaluate.metrics import UNKNOWN_TYPE, Metrics, Unplayed, measure
from alfworld_sft.evaluate.worldmodel import WorldModelScore, score_predictions
from alfworld_sft.files import whole_file
from alfworld_sft.games import GENERATE, GameRef, ShuffledGames
from alfworld_sft.runs.job import Chosen, Job, Play, games_of, play, resumable_on_failure
from alfworld_sft.runs.results import results_errors
from alfworld_sft.runs.resume import resume_job
from alfworld_sft.runs.run_json import final_stamp
from alfworld_sft.runs.start import start_job
from alfworld_sft.runs.trust import Allowed
from alfworld_sft.strict_json import to_json
from alfworld_sft.types import Episode

EvaluateJob: TypeAlias = Job[EvaluateConfig]
STAMP_KEYS = ("versions", "config", "policy", "sampling", "games", "protocol")
"""The keys of the run's stamp that `metrics.json` copies, so that it is useful on its own."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of an evaluation. `world_model` is None if the template asks for no prediction."""

    metrics: Metrics
    world_model: WorldModelScore | None


def start_evaluation(config: EvaluateConfig, output_dir: Path, *, name: str | None = None) -> EvaluateJob:
    """Check everything that can be checked, then make the run's folder; raises UserError before it exists."""
    named = {} if config.protocol is None else {"protocol": config.protocol}
    notes: dict[str, dict[str, Any]] = {"protocol": {**named, "repeats": config.repeats}}
    return start_job("evaluate", config, _choose, output_dir, name=name, notes=notes)


def resume_evaluation(path: Path, allowed: Allowed | None = None) -> EvaluateJob:
    """Reopen a stopped evaluation, as `runs.resume_job` does."""
    return resume_job("evaluate", EvaluateConfig, _choose, path, allowed)


def evaluate(
    job: EvaluateJob, on_episode: Callable[[Episode | None], None] = lambda _: None, play: Play = play
) -> Evaluation:
    """Play what the run still owes, then write `metrics.json` and the final stamp.

    The journal is read one episode at a time, so memory grows only with the number of games.
    """
    run = job.run
    with resumable_on_failure(job):
        play(job, on_episode)

    metrics = measure(run.episodes(), _unplayed(job))
    world_model = score_predictions(run.episodes) if "prediction" in job.template.tags else None

    stamp = final_stamp(run)
    content: dict[str, Any] = {
        "status": stamp["status"],
        "stamp": {key: stamp[key] for key in STAMP_KEYS},
        **metrics.as_dict(),
        "world_model": world_model.as_dict() if world_model else None,
        "usage": metrics.usage.with_cost(job.config.policy.prices) if metrics.usage.replies else None,
    }
    with results_errors(run):
        with whole_file(run.path / RESULT_FILE) as file:
            file.write(to_json(content, indent=2).encode() + b"\n")
        run.write_stamp(stamp)
    return Evaluation(metrics, world_model)


def _unplayed(job: EvaluateJob) -> Iterator[Unplayed]:
    """Yield the episodes that ended in an error, with their games."""
    for index in sorted(job.run.failed):
        if index < job.total:
            ref = job.games.ref(index)
            yield Unplayed(index, ref.id, _task_type(ref))


def _task_type(ref: GameRef) -> str:
    try:
        return ref.task_type or ref.load().task_type
    except GameFileError:
        return UNKNOWN_TYPE


def _choose(config: EvaluateConfig) -> Chosen:
    games = choose_games(config)
    return Chosen(games, games.total * config.repeats)


def choose_games(config: EvaluateConfig) -> ShuffledGames:
    """Return the games that an evaluation plays; raises UserError if there are none."""
    games = games_of(config.games, config.seed)
    number = games.total if config.num_games is None else config.num_games
    if number is None:
        raise ConfigError(f"games.source={GENERATE} has no end: say how many games to play with num_games=N")
    return games.first(number)
