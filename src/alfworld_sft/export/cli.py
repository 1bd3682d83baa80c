"""`alfworld-sft export`: a run in the form that another framework reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import typer

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.counts import counted
from alfworld_sft.dataset.build import is_kept
from alfworld_sft.dataset.read import Columns, dataset_file, read_rows
from alfworld_sft.dataset.rows import Rendering
from alfworld_sft.errors import ConfigError, RunFolderError
from alfworld_sft.export.dialogues import SPLITS
from alfworld_sft.export.inspect_log import LOG, export_inspect
from alfworld_sft.export.preferences import SETTINGS, game_of, has_distances, preference_pairs
from alfworld_sft.export.targets import Record
from alfworld_sft.export.write import export_rows, new_folder, write_jsonl
from alfworld_sft.runs.journal import Journal, read_journal
from alfworld_sft.runs.played_games import PlayedGames, games_of_run
from alfworld_sft.runs.store import IMPORT, JOURNAL, read_stamp
from alfworld_sft.runs.template import template_of_run
from alfworld_sft.terminal import printable
from alfworld_sft.types import Episode, Form

Target = Literal["trl", "verl", "verl-rl", "llamafactory", "openai", "sharegpt", "inspect", "dpo"]


def export_command(
    run: Annotated[Path, typer.Argument(help="A dataset folder; for inspect, an evaluation's folder.")],
    to: Annotated[Target, typer.Option(help="The framework that will read the files.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to make.")],
    form: Annotated[Form, typer.Option(help="multi: conversations; single: one prompt a turn.")] = "multi",
    source: Annotated[str | None, typer.Option(help="For dpo: where the games are now, if they were moved.")] = None,
    template: Annotated[
        str | None, typer.Option(help="For dpo and inspect: the run's template, if it is a file that was moved.")
    ] = None,
) -> None:
    """Write a run in the form that another framework reads."""
    if source is not None and to != "dpo":
        raise ConfigError(f"--source {source} has no effect with --to {to}, which needs no games; leave it out")
    if template is not None and to not in ("inspect", "dpo"):
        raise ConfigError(f"--template {template} has no effect with --to {to}, which reads rows; leave it out")
    if form == "single" and to == "inspect":
        raise ConfigError("--form single has no effect with --to inspect, which keeps what was played; leave it out")
    if to in ("inspect", "dpo") and read_stamp(run).get("kind") == IMPORT:
        raise RunFolderError(f"{run}: imported; --to {to} needs episodes that this package has played")
    if to == "inspect":
        typer.echo(f"{printable(str(out / LOG))}: {counted(export_inspect(run, out, template), 'sample')}")
    elif to == "dpo":
        for split, pairs in export_pairs(run, out, source, form, template).items():
            typer.echo(f"{printable(str(out))}: {split}: {counted(pairs, 'pair')}")
    else:
        exported = export_rows(run, to, out, form)
        for split in SPLITS:
            left_out = exported.left_out[split]
            more = f"; left out: {counted(left_out, 'conversation')} with untrained replies" if left_out else ""
            typer.echo(f"{printable(str(out))}: {split}: {counted(exported.records[split], 'record')}{more}")


def export_pairs(
    path: Path, out: Path, source: str | None, form: Form = "multi", template: str | None = None
) -> dict[str, int]:
    """Write the preference pairs of a collection's episodes, split as its rows; return the numbers by split.

    Raises RunFolderError for another run than a collection, or one without pairs, and DatasetError for one that has not
    written its dataset.
    """
    stamp = read_stamp(path)
    if stamp.get("kind") != "collect":
        raise RunFolderError(f"{path}: of kind {stamp.get('kind')}; --to dpo takes a collection's folder")
    held_out, journal = _held_out_games(path), read_journal(path / JOURNAL)
    try:
        config = CollectConfig.model_validate(stamp["config"])
    except (KeyError, ValueError):
        raise RunFolderError(f"{path}: its run.json is not one that collect wrote; collect it again") from None
    prompts = template_of_run(stamp, path, template)
    rendering = Rendering(prompts, config.prompt.history_length, config.worldmodel.predictions)
    find_games = cache(lambda: games_of_run(stamp, [source] if source else []))
    with new_folder(out) as folder:
        numbers = {}
        for split in SPLITS:
            file = folder / f"{split}.jsonl"
            episodes = _trained_episodes(journal, config, held_out, split)
            numbers[split] = write_jsonl(file, _pairs(episodes, find_games, rendering, form, path))
            if not numbers[split]:
                file.unlink()  # readers of a dataset fail on a file without records
        if not any(numbers.values()):
            raise RunFolderError(f"{path}: no trained turn of its episodes has a worse alternative; nothing to export")
        (folder / "README.md").write_text(f"# {path.name}: preference pairs\n\n{SETTINGS}\n", "utf-8")
    return numbers


def _held_out_games(dataset: Path) -> frozenset[str]:
    """Return the ids of the games that a dataset keeps for validation."""
    file = dataset_file(dataset, "val.parquet", "RUN")
    return frozenset(str(row.extra.get("game_id")) for row in read_rows([file], Columns(multiturn=True), "RUN"))


def _trained_episodes(
    journal: Journal, config: CollectConfig, held_out: Collection[str], split: str
) -> Iterator[Episode]:
    """Yield the episodes whose rows are in a split."""
    for episode in journal.episodes():
        kept = is_kept(episode.success, config.dataset.require_success)
        if kept and (episode.game_id in held_out) == (split == "val"):
            yield episode


def _pairs(
    episodes: Iterable[Episode], find_games: Callable[[], PlayedGames], rendering: Rendering, form: Form, run: Path
) -> Iterator[Record]:
    """Yield the pairs of episodes; games are needed only for those that were recorded without distances."""
    for episode in episodes:
        game = None if has_distances(episode) else game_of(episode, find_games(), run)
        yield from preference_pairs(episode, game, rendering, form)
