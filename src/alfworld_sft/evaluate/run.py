"""An evaluation, from its config to `metrics.json`: `start_evaluation` or `resume_evaluation`, then `evaluate`.

It is a run like collection's, with another choice of games: each of a split's games, `repeats` times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from alfworld_sft.errors import ConfigError, RunFolderError, os_reason
from alfworld_sft.evaluate.compare import METRICS
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.evaluate.metrics import UNKNOWN_TYPE, Metrics, Unplayed, measure
from alfworld_sft.evaluate.worldmodel import WorldModelScore, score_predictions
from alfworld_sft.files import whole_file
from alfworld_sft.games import GENERATE, GameRef, Games, GameStream
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
from alfworld_sft.runs.runner import game_order
from alfworld_sft.runs.trust import Allowed
from alfworld_sft.strict_json import to_json
from alfworld_sft.types import Episode
from alfworld_sft.world import Game

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
    notes = {"protocol": {"repeats": config.repeats}}
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
            f"{run.path}: {os_reason(error)}; all episodes are safe; mend that, then:"
            f" alfworld-sft evaluate --resume {run.path}"
        ) from None
    return Evaluation(metrics, world_model)


def _unplayed(job: EvaluateJob) -> Iterator[Unplayed]:
    """Yield the episodes that ended in an error, with the games that they were to play."""
    failed = job.run.failed
    if failed and not isinstance(job.refs, GameStream):
        for index, ref in enumerate(islice(game_order(job.refs, job.config.seed), job.total)):
            if index in failed:
                yield Unplayed(index, ref.id, ref.task_type or UNKNOWN_TYPE)


def _choose(config: EvaluateConfig) -> Chosen:
    games, refs = choose_games(config)
    return Chosen(games, refs, len(refs) * config.repeats)


def choose_games(config: EvaluateConfig) -> tuple[Games | GameStream, tuple[GameRef, ...]]:
    """Return the games that were found, and those that an evaluation plays; raises UserError where there are none."""
    games, refs = games_of(config.games, config.seed)
    if isinstance(refs, GameStream):
        if config.num_games is None:
            raise ConfigError(f"games.source={GENERATE} has no end: say how many games to play with num_games=N")
        refs = tuple(_made_again(refs, number) for number in range(config.num_games))
    elif config.num_games is not None and config.num_games < len(refs):
        refs = tuple(sorted(islice(game_order(refs, config.seed), config.num_games)))
    return games, refs


def _made_again(stream: GameStream, number: int) -> GameRef:
    """Return the stream's game of this number as one that is made when it is played, and not kept."""
    return replace(stream.ref(number), make=partial(_make, stream, number))


def _make(stream: GameStream, number: int) -> Game:
    return stream.ref(number).load()
