"""What does `alfworld-sft collect` accept and print, and how is a dataset summed up?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.collect.run import CollectJob, collect, resume_run, start_run
from alfworld_sft.config import build_config, key_table
from alfworld_sft.counts import counted, size_in_words
from alfworld_sft.dataset.build import Summary
from alfworld_sft.dataset.card import model_notes
from alfworld_sft.dataset.show import Contents
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
from alfworld_sft.terminal import printable
from alfworld_sft.types import SHORT_NAMES, TASK_TYPES

logger = logging.getLogger(__name__)


def collect_command(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Dotted overrides such as seed=7 or +prompt.template=add_wm1; see --keys."),
    ] = None,
    output_dir: Annotated[Path, typer.Option(help="Folder in which the run's folder sft_data_… is created.")] = Path(),
    name: RunName = None,
    resume: ResumedRun = None,
    trust: TrustStored = False,
    allow_eval_split: Annotated[bool, typer.Option(help="Allow training data from an evaluation split.")] = False,
    rationalize: Annotated[
        bool,
        typer.Option("--rationalize", help="Have policy.model write the reasoning for the expert's actions."),
    ] = False,
    ray: RayAddress = None,
    keys: Annotated[bool, typer.Option("--keys", help="Print all keys with their defaults, and exit.")] = False,
) -> None:
    """Play games and write a dataset: train and val as Parquet and CSV, and every episode in full."""
    if keys:
        typer.echo(key_table(CollectConfig))
        return
    words = [
        *(["policy.name=server", "policy.rationalize=true"] if rationalize else []),
        *(overrides or []),
        *(["games.allow_eval_split=true"] if allow_eval_split else []),
    ]
    allowed = refuse_options_of_resumed(resume, CollectConfig, words, name, output_dir, trust=trust)
    how = over_ray(ray) if ray else play
    job = (
        resume_run(resume, allowed) if resume else start_run(build_config(CollectConfig, words), output_dir, name=name)
    )
    with watched(job) as on_episode:
        summary = collect(job, on_episode, how)
    _report(job, summary)


def print_contents(console: Console, folder: Path, contents: Contents) -> None:
    """Print what is in a dataset: episodes, success, rows, lengths, files, and one example turn."""
    counts = contents.stamp["counts"]
    found = {t: (f["won"], f["played"]) for t, f in counts["success_by_task_type"].items()}
    console.print(success_table(found, counts["won"], counts["episodes"]))
    console.print(printable(f"\ngames: {contents.stamp['games']['description']}"), markup=False)
    if skipped := skipped_in_words(contents.stamp["games"].get("skipped", {})):
        console.print(printable(f"skipped games: {skipped}"), markup=False)
    console.print(f"rows: {contents.rows['train']} for training, {contents.rows['val']} for validation")
    for note in model_notes(contents.stamp):
        console.print(printable(note), markup=False)
    for name, lengths in (("single-turn rows", contents.single_turn), ("conversations", contents.multi_turn)):
        console.print(f"tokens of {name}, about: {lengths.median} median, {lengths.longest} longest")
    for name, size in contents.sizes.items():
        console.print(f"{size_in_words(size):>11}  {folder / name}", markup=False)
    console.print("\n--- a prompt (single-turn form) ---", style="bold")
    console.print(printable(contents.example["prompt_data"]["content"]), markup=False)
    console.print("--- and its response ---", style="bold")
    console.print(printable(contents.example["response_data"]["content"]), markup=False)


def _report(job: CollectJob, summary: Summary) -> None:
    """Print the results of a collection."""
    table = success_table(summary.success_by_task_type, summary.won, summary.episodes)
    Console(soft_wrap=True).print(table)
    dropped = summary.episodes - summary.kept
    if dropped:
        typer.echo(f"{counted(dropped, 'lost episode')} dropped (dataset.require_success)")
    typer.echo(
        f"{counted(summary.rows_train, 'row')} of {counted(summary.games_train, 'game')} for training,"
        f" {summary.rows_val} of {summary.games_val} for validation"
    )
    if skipped := skipped_in_words(job.games.skipped):
        typer.echo(f"skipped games: {skipped}")
    for note in model_notes(job.run.stamp):
        typer.echo(note)
    warn_of_unknown_cost(job.config.policy, summary.usage)
    if not summary.rows_val and job.config.dataset.val_fraction:
        logger.warning("nothing is held out for validation: all rows come from one game")
    warn_of_failures(job.run)
    typer.echo(job.run.path)


def success_table(by_task_type: Mapping[str, tuple[int, int]], won: int, played: int) -> Table:
    """Return won and played by task type, and of all."""
    table = Table(box=None, pad_edge=False)
    table.add_column("task type")
    table.add_column("won", justify="right")
    table.add_column("played", justify="right")
    for task_type in TASK_TYPES:
        if task_type in by_task_type:
            table.add_row(SHORT_NAMES[task_type], *map(str, by_task_type[task_type]))
    table.add_row("all", str(won), str(played))
    return table
