"""What do the episodes of a run add up to? The figures of `evaluate`, for a collection as well, and what is plotted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from alfworld_sft.errors import ComparisonError
from alfworld_sft.evaluate.compare import Comparison, Result, compare, protocol_differences
from alfworld_sft.evaluate.metrics import UNKNOWN_TYPE, Metrics, Unplayed, measure
from alfworld_sft.evaluate.worldmodel import ACTION_KINDS, PREDICTORS, WorldModelScore, kind_of, score_predictions
from alfworld_sft.games.layout import read_task_folder
from alfworld_sft.report.read import Run
from alfworld_sft.runs.journal import Journal
from alfworld_sft.types import SHORT_NAMES


def measure_run(journal: Journal) -> Metrics:
    """Return the metrics of a run; an episode that ended in an error counts as lost, as in an evaluation."""
    return measure(journal.episodes(), _unplayed(journal))


def play_figures(run: Run, metrics: Metrics) -> dict[str, Any]:
    """Return the figures of a run that played games, as plain values for the page."""
    usage = run.stamped("usage")
    cost = usage.get("cost_usd") if isinstance(usage, dict) else None
    return {
        "success": metrics.success().as_dict(),
        "by_type": {task_type: metrics.success(task_type).as_dict() for task_type in metrics.task_types},
        "pass_at_k": {str(k): rate for k, rate in metrics.pass_at_k().items()},
        "mean_steps": metrics.mean_steps,
        "mean_steps_when_won": metrics.mean_steps_when_won,
        "steps": metrics.steps,
        "invalid": dict(sorted(metrics.invalid.items())),
        "lost": {reason: number for reason, number in metrics.failures.items() if number},
        "usage": metrics.usage.as_dict() if metrics.usage.replies else None,
        "cost_usd": cost if isinstance(cost, int | float) else None,
    }


def count_kinds(journal: Journal) -> dict[str, int]:
    """Count the kinds of actions of a run, in the order of ACTION_KINDS."""
    counts = Counter(kind_of(step) for episode in journal.episodes() for step in episode.steps)
    return {kind: counts[kind] for kind in ACTION_KINDS if counts[kind]}


def world_model_figures(journal: Journal) -> dict[str, Any] | None:
    """Return the scores of the predictions by predictor and kind of action; None where no reply has one."""
    score = score_predictions(journal.episodes)
    cases = score.of(PREDICTORS[0]).cases
    return None if score.missing == cases else _scores(score)


def compare_with_first(runs: Sequence[Run], metrics: Sequence[Metrics | None]) -> list[dict[str, Any]]:
    """Compare each run that played games with the first that did; where that cannot be done, say why."""
    results = [(n, _result(run, m)) for n, (run, m) in enumerate(zip(runs, metrics, strict=True)) if m is not None]
    return [_compared(results[0], other) for other in results[1:]]


def short_names() -> dict[str, str]:
    """Return what the page calls the task types."""
    return {str(known): short for known, short in SHORT_NAMES.items() if known is not None} | {UNKNOWN_TYPE: "?"}


def _compared(first: tuple[int, Result], other: tuple[int, Result]) -> dict[str, Any]:
    pair = {"a": first[0], "b": other[0]}
    try:
        for result in (first[1], other[1]):
            if result.stamp.get("status") != "complete":
                return pair | {"refused": f"not compared: {result.name} is unfinished, or episodes of it failed"}
        if differences := list(protocol_differences(first[1], other[1])):
            return pair | {"refused": f"not compared, since they differ: {'; '.join(differences)}"}
        if first[1].plays_of_games != other[1].plays_of_games:
            return pair | {"refused": "not compared, since they played a game a different number of times"}
        return pair | _plain(compare(first[1], other[1]))
    except ComparisonError as error:
        return pair | {"refused": str(error)}
    except (KeyError, TypeError, AttributeError):
        return pair | {"refused": "the stamp of one of the runs does not say how it was played"}


def _plain(comparison: Comparison) -> dict[str, Any]:
    return {
        "games": comparison.games,
        "plays": comparison.plays,
        "both": comparison.both,
        "only_a": comparison.only_a,
        "only_b": comparison.only_b,
        "neither": comparison.neither,
        "difference": comparison.difference,
        "interval": list(comparison.interval),
        "p_value": comparison.p_value,
        "method": comparison.method,
    }


def _result(run: Run, metrics: Metrics) -> Result:
    outcomes = {
        task_type: {game: tuple(plays[index] for index in sorted(plays)) for game, plays in by_game.items()}
        for task_type, by_game in metrics.outcomes.items()
    }
    return Result(run.name, run.stamp, outcomes)


def _scores(score: WorldModelScore) -> dict[str, Any]:
    return {
        "missing": score.missing,
        "by_predictor": {
            predictor: {
                "all": score.of(predictor).as_dict(),
                **{kind: score.of(predictor, kind).as_dict() for kind in score.kinds},
            }
            for predictor in PREDICTORS
        },
    }


def _unplayed(journal: Journal) -> Iterator[Unplayed]:
    for failed in journal.failed:
        named = read_task_folder(failed.game_id.partition("/")[0])
        yield Unplayed(failed.index, failed.game_id, named[0] if named else UNKNOWN_TYPE)
