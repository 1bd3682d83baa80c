"""How does a terminal show the figures of an evaluation or a comparison?"""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from alfworld_sft.counts import counted
from alfworld_sft.evaluate.compare import Comparison
from alfworld_sft.evaluate.metrics import FAILURES, Metrics, Success
from alfworld_sft.evaluate.statistics import Interval
from alfworld_sft.evaluate.worldmodel import PREDICTORS, WorldModelScore
from alfworld_sft.terminal import printable
from alfworld_sft.types import SHORT_NAMES


def print_metrics(console: Console, metrics: Metrics) -> None:
    """Print success by task type, steps, invalid actions and reasons for losses."""
    table = _table("task type", "won", "played", "success", "95 % interval")
    for task_type in metrics.task_types:
        table.add_row(_short_name(task_type), *_success_cells(metrics.success(task_type)))
    table.add_row("all", *_success_cells(metrics.success()))
    console.print(table)
    if by_play := metrics.rates_by_play:
        success = metrics.success()
        console.print(
            f"success by play: {', '.join(f'{rate:.1%}' for rate in by_play)}; mean {success.rate:.1%},"
            f" 95 % interval over the games {_format_interval(success.interval)}"
        )
    if rates := metrics.pass_at_k():
        console.print("pass@k: " + ", ".join(f"{rate:.1%} with k={k}" for k, rate in rates.items()))
    if metrics.mean_steps is not None:
        won = f"{metrics.mean_steps_when_won:.1f} when won, " if metrics.mean_steps_when_won is not None else ""
        console.print(f"mean steps: {won}{metrics.mean_steps:.1f} over all")
    replies = counted(metrics.steps, "reply", "replies")
    console.print(f"invalid actions: {metrics.invalid_rate:.1%} ({metrics.invalid.total()} of {replies})")
    reasons = ", ".join(f"{metrics.failures[reason]} {reason}" for reason in FAILURES if metrics.failures[reason])
    console.print(f"lost: {metrics.failures.total()}{f' ({reasons})' if reasons else ''}")


def print_world_model(console: Console, score: WorldModelScore) -> None:
    """Print exact match and F1 by kind of action, for the policy and both baselines."""
    table = _table("prediction after", "cases", "exact", "F1", "copy", "F1", "frequent", "F1")
    for kind in (*score.kinds, None):
        scores = [score.of(predictor, kind).as_dict() for predictor in PREDICTORS]
        cells = [f"{found[measure]:.3f}" for found in scores for measure in ("exact_match", "f1")]
        table.add_row(kind or "all", str(scores[0]["cases"]), *cells)
    console.print(table)
    console.print("exact match and F1 over the things named; beside them those of copying the last observation,")
    console.print("and of the most frequent answer to the command in these very episodes")
    if score.missing:
        console.print(f"replies without a prediction, which score 0: {score.missing}")


def print_comparison(console: Console, comparison: Comparison, names: tuple[str, str]) -> None:
    """Print both success rates by task type, the difference with its interval, and the p-value."""
    table = _table("task type", "plays", "A", "B", "B - A")
    won_a, won_b = comparison.both + comparison.only_a, comparison.both + comparison.only_b
    rows = {_short_name(t): counts for t, counts in comparison.by_task_type.items()}
    for name, (plays, in_a, in_b) in {**rows, "all": (comparison.plays, won_a, won_b)}.items():
        table.add_row(name, str(plays), f"{in_a / plays:.1%}", f"{in_b / plays:.1%}", f"{(in_b - in_a) / plays:+.1%}")
    console.print(table)
    for letter, name in zip("AB", names, strict=True):
        console.print(f"{letter}: {name}", markup=False)
    console.print(
        f"{counted(comparison.plays, 'play')} of {counted(comparison.games, 'game')}: won by both {comparison.both},"
        f" only by A {comparison.only_a},"
        f" only by B {comparison.only_b}, by neither {comparison.neither}"
    )
    low, high = comparison.interval
    p_value = _format_p_value(comparison.p_value)
    console.print(f"B - A: {comparison.difference:+.1%}, 95 % interval {low:+.1%} to {high:+.1%}, p = {p_value}")
    console.print(comparison.method)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table


def _success_cells(success: Success) -> tuple[str, ...]:
    return str(success.won), str(success.played), f"{success.rate:.1%}", _format_interval(success.interval)


def _format_interval(interval: Interval) -> str:
    return f"{interval.low:.1%} to {interval.high:.1%}"


def _short_name(task_type: str) -> str:
    return next((short for known, short in SHORT_NAMES.items() if known == task_type), escape(printable(task_type)))


def _format_p_value(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else f"{value:.1e}"
