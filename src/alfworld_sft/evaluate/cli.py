"""`alfworld-sft evaluate`: play a split and print the results, or compare two evaluations."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from alfworld_sft.config import key_table
from alfworld_sft.errors import ConfigError, UserError
from alfworld_sft.evaluate.compare import compare, read_result
from alfworld_sft.evaluate.config import EvaluateConfig, config_of
from alfworld_sft.evaluate.protocols import PRESETS
from alfworld_sft.evaluate.run import EvaluateJob, Evaluation, evaluate, resume_evaluation, start_evaluation
from alfworld_sft.evaluate.tables import print_comparison, print_metrics, print_world_model
from alfworld_sft.games.refs import skipped_in_words
from alfworld_sft.runs.cli import (
    RayAddress,
    ResumedRun,
    RunName,
    TrustStored,
    refuse_options_of_resumed,
    warn_of_failures,
    warn_of_unknown_cost,
    watched,
)
from alfworld_sft.runs.job import play
from alfworld_sft.runs.on_ray import over_ray
from alfworld_sft.runs.run_json import CONSTRAIN
from alfworld_sft.runs.store import resume_command
from alfworld_sft.terminal import printable
from alfworld_sft.usage import usage_in_words

logger = logging.getLogger(__name__)


def evaluate_command(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Dotted overrides such as repeats=4 or games.split=valid_unseen; see --keys."),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"Play by a published protocol, which fixes keys: {', '.join(PRESETS)}."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Play every game with so many seeds; the same as repeats=N.")
    ] = None,
    output_dir: Annotated[Path, typer.Option(help="Folder in which the run's folder eval_… is created.")] = Path(),
    name: RunName = None,
    resume: ResumedRun = None,
    trust: TrustStored = False,
    two: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--compare", metavar="A B", help="Compare the folders of two evaluations, without playing."),
    ] = None,
    different_protocols: Annotated[
        bool, typer.Option(help="With --compare: allow different protocols or games, on the plays that both have.")
    ] = False,
    failed_as_lost: Annotated[
        bool, typer.Option(help="With --compare: count failed episodes as lost, as a result's own figures do.")
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
        if words or name or resume or trust or ray or protocol or seeds or output_dir != Path():
            raise ConfigError("--compare A B plays nothing; leave out the options for playing")
        a, b = (read_result(path, failed_as_lost=failed_as_lost) for path in two)
        comparison = compare(a, b, different_protocols=different_protocols)
        print_comparison(console, comparison, (_label(two[0], a.stamp), _label(two[1], b.stamp)))
        return
    for given, option in ((different_protocols, "--different-protocols"), (failed_as_lost, "--failed-as-lost")):
        if given:
            raise ConfigError(f"{option} goes with --compare A B only")
    if resume and (protocol or seeds):
        raise ConfigError(f"--resume {resume} uses that run's own config; leave out --protocol and --seeds")
    allowed = refuse_options_of_resumed(resume, EvaluateConfig, words, name, output_dir, trust=trust)
    how = over_ray(ray) if ray else play
    job = (
        resume_evaluation(resume, allowed)
        if resume
        else start_evaluation(_config(words, protocol, seeds), output_dir, name=name)
    )
    with watched(job) as on_episode:
        evaluation = evaluate(job, on_episode, how)
    _refuse_if_all_failed(job)
    _report(console, job, evaluation)


def _config(words: list[str], protocol: str | None, seeds: int | None) -> EvaluateConfig:
    """Return the config of a new evaluation, and say what a protocol fixed in it."""
    if seeds is not None:
        if any(word.lstrip("+").startswith("repeats=") for word in words):
            raise ConfigError(f"--seeds {seeds} and repeats=… say the same thing: leave out one of them")
        words = [*words, f"repeats={seeds}"]
    config = config_of(words, protocol)
    if config.protocol is not None:
        preset = PRESETS[config.protocol]
        fixed = ", ".join(f"{key}={'null' if value is None else value}" for key, value in preset.fixed.items())
        logger.info("protocol %s: %s; fixed: %s", preset.name, preset.summary, fixed)
    return config


def _refuse_if_all_failed(job: EvaluateJob) -> None:
    """Raise UserError where not one episode was played to its end: there is no result to print."""
    failed = job.run.failed
    if failed and len(failed) >= job.total:
        index, reason = next(iter(failed.items()))
        raise UserError(
            f"all {job.total} episodes failed (episode {index}: {reason}); once that is fixed:"
            f" {resume_command('evaluate', job.run.path)}"
        )


def _report(console: Console, job: EvaluateJob, evaluation: Evaluation) -> None:
    print_metrics(console, evaluation.metrics)
    if constrained := job.run.stamp["protocol"].get(CONSTRAIN):
        console.print(printable(f"policy.constrain: {constrained}"), markup=False)
    if skipped := skipped_in_words(job.games.skipped):
        console.print(f"skipped games: {skipped}", markup=False)
    if evaluation.world_model:
        console.print()
        print_world_model(console, evaluation.world_model)
    policy, usage = job.config.policy, evaluation.metrics.usage
    if usage.replies:
        console.print(usage_in_words(usage.with_cost(policy.prices)))
    warn_of_unknown_cost(policy, usage)
    warn_of_failures(job.run, count_as_lost=True)
    typer.echo(job.run.path)


def _label(path: Path, stamp: Mapping[str, Any]) -> str:
    constrained = stamp["protocol"].get(CONSTRAIN)
    return printable(f"{path} ({stamp['policy']}{f', policy.constrain: {constrained}' if constrained else ''})")
