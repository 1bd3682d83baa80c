"""`alfworld-sft evaluate`: play a split and print the results, or compare two evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from alfworld_sft.config import build_config, key_table
from alfworld_sft.errors import ConfigError
from alfworld_sft.evaluate.compare import compare, read_result
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.evaluate.run import EvaluateJob, Evaluation, evaluate, resume_evaluation, start_evaluation
from alfworld_sft.evaluate.tables import print_comparison, print_metrics, print_world_model
from alfworld_sft.games.refs import skipped_in_words
from alfworld_sft.runs.cli import (
    RayAddress,
    TrustStored,
    refuse_options_of_resumed,
    warn_of_failures,
    warn_of_unknown_cost,
    watched,
)
from alfworld_sft.runs.job import play
from alfworld_sft.runs.on_ray import over_ray
from alfworld_sft.terminal import printable
from alfworld_sft.usage import usage_in_words


def evaluate_command(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Dotted overrides such as repeats=4 or games.split=valid_unseen; see --keys."),
    ] = None,
    output_dir: Annotated[Path, typer.Option(help="Folder in which the run's folder eval_… is created.")] = Path(),
    name: Annotated[str | None, typer.Option(help="Name of the run's folder, instead of the default.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Resume the run in this folder with its saved config.")] = None,
    trust: TrustStored = False,
    two: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--compare", metavar="A B", help="Compare the folders of two evaluations, without playing."),
    ] = None,
    different_protocols: Annotated[
        bool, typer.Option(help="With --compare: allow different protocols or games, on the plays that both have.")
    ] = False,
    ray: RayAddress = None,
    keys: Annotated[bool, typer.Option("--keys", help="Print all keys with their defaults, and exit.")] = False,
) -> None:
    """Play every game of a split, and report success by task type, steps, invalid actions and predictions."""
    if keys:
        typer.echo(key_table(EvaluateConfig))
        return
    words = overrides or []
    console = Console(soft_wrap=True, highlight=False)
    if two:
        if words or name or resume or trust or ray:
            raise ConfigError("--compare A B plays nothing; leave out the options for playing")
        a, b = read_result(two[0]), read_result(two[1])
        comparison = compare(a, b, different_protocols=different_protocols)
        print_comparison(console, comparison, (_label(two[0], a.stamp["policy"]), _label(two[1], b.stamp["policy"])))
        return
    if different_protocols:
        raise ConfigError("--different-protocols goes with --compare A B only")
    allowed = refuse_options_of_resumed(resume, words, name, trust=trust)
    how = over_ray(ray) if ray else play
    job = (
        resume_evaluation(resume, allowed)
        if resume
        else start_evaluation(build_config(EvaluateConfig, words), output_dir, name=name)
    )
    with watched(job) as on_episode:
        evaluation = evaluate(job, on_episode, how)
    _report(console, job, evaluation)


def _report(console: Console, job: EvaluateJob, evaluation: Evaluation) -> None:
    print_metrics(console, evaluation.metrics)
    if skipped := skipped_in_words(job.games.skipped):
        console.print(f"skipped games: {skipped}", markup=False)
    if evaluation.world_model:
        console.print()
        print_world_model(console, evaluation.world_model)
    policy, usage = job.config.policy, evaluation.metrics.usage
    if usage.replies:
        console.print(usage_in_words(usage.with_cost(policy.prices)))
    warn_of_unknown_cost(policy, usage)
    warn_of_failures(job.run, (" and counts as lost", " and count as lost"))
    typer.echo(job.run.path)


def _label(path: Path, policy: str) -> str:
    return printable(f"{path} ({policy})")
