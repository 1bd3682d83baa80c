"""`alfworld-sft export`: a run in the form that another framework reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.counts import counted
from alfworld_sft.dataset.rows import Rendering
from alfworld_sft.errors import RunFolderError
from alfworld_sft.export.dialogues import SPLITS
from alfworld_sft.export.inspect_log import LOG, export_inspect
from alfworld_sft.export.preferences import SETTINGS, game_of, has_distances, preference_pairs
from alfworld_sft.export.targets import Form, Record
from alfworld_sft.export.write import export_rows, new_folder, write_jsonl
from alfworld_sft.games import GameSource
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.job import games_of
from alfworld_sft.runs.store import IMPORT, RunFolder, read_stamp
from alfworld_sft.terminal import printable

Target = Literal["trl", "verl", "verl-rl", "llamafactory", "openai", "sharegpt", "inspect", "dpo"]


def export_command(
    run: Annotated[Path, typer.Argument(help="A dataset folder; for inspect, an evaluation's folder.")],
    to: Annotated[Target, typer.Option(help="The framework that will read the files.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to make.")],
    form: Annotated[Form, typer.Option(help="multi: conversations; single: one prompt a turn.")] = "multi",
    source: Annotated[str | None, typer.Option(help="For dpo: where the games are now, if they were moved.")] = None,
) -> None:
    """Write a run in the form that another framework reads."""
    if to in ("inspect", "dpo") and read_stamp(run).get("kind") == IMPORT:
        raise RunFolderError(f"{run}: imported; --to {to} needs episodes that this package has played")
    if to == "inspect":
        typer.echo(f"{printable(str(out / LOG))}: {counted(export_inspect(run, out), 'sample')}")
    elif to == "dpo":
        typer.echo(f"{printable(str(out))}: {counted(export_pairs(run, out, source), 'pair')}")
    else:
        exported = export_rows(run, to, out, form)
        for split in SPLITS:
            left_out = exported.left_out[split]
            more = f"; left out: {counted(left_out, 'conversation')} with untrained replies" if left_out else ""
            typer.echo(f"{printable(str(out))}: {split}: {counted(exported.records[split], 'record')}{more}")


def export_pairs(path: Path, out: Path, source: str | None) -> int:
    """Write the preference pairs of a collection's episodes; return their number."""
    with RunFolder(path) as run, new_folder(out) as folder:
        number = write_jsonl(folder / "train.jsonl", _pairs(run, source))
        if not number:
            raise RunFolderError(f"{path}: no trained turn of its episodes has a worse alternative; nothing to export")
        (folder / "README.md").write_text(f"# {path.name}: preference pairs\n\n{SETTINGS}\n", "utf-8")
    return number


def _pairs(run: RunFolder, source: str | None) -> Iterator[Record]:
    config = CollectConfig.model_validate(run.stamp["config"])
    section = config.games.model_copy(update={"source": source}) if source else config.games
    rendering = Rendering(load_template(config.prompt.template), predictions=config.worldmodel.predictions)
    games: GameSource | None = None
    for episode in run.episodes():
        if not episode.success and config.dataset.require_success:
            continue
        if has_distances(episode):
            yield from preference_pairs(episode, None, rendering)
        else:
            games = games or games_of(section, config.seed)
            yield from preference_pairs(episode, game_of(episode, games, run.path), rendering)
