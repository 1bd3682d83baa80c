"""How do another project's files become a dataset's folder of ours? Read, find the game, replay, split, write.

With a template the dataset is made of the replayed episodes, as `collect` makes it. Without one the rows are the
conversations as they were recorded; an episode whose game is not at hand is kept, and split by its task and room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alfworld_sft.dataset.build import Summary, build_dataset, is_kept
from alfworld_sft.dataset.read import refuse_duplicates
from alfworld_sft.dataset.rows import Rendering
from alfworld_sft.dataset.split import GameRows, held_out_games
from alfworld_sft.dataset.write import dataset_files, trajectory_of
from alfworld_sft.errors import DatasetError, UserError, os_reason
from alfworld_sft.files import whole_folder
from alfworld_sft.foreign.config import ImportConfig
from alfworld_sft.foreign.read import Format, read_foreign
from alfworld_sft.foreign.rows import Imported, count_recorded_rows, recorded_rows, unplayed_trajectory
from alfworld_sft.foreign.select import Selection
from alfworld_sft.foreign.stamp import finish, stamp_of
from alfworld_sft.foreign.tally import Tally
from alfworld_sft.games import GENERATE, check_split_is_trainable
from alfworld_sft.games.finder import GameFinder
from alfworld_sft.games.listed import list_games
from alfworld_sft.prompts.template import Template, load_template
from alfworld_sft.runs.config import absolute_source
from alfworld_sft.runs.records import to_line
from alfworld_sft.runs.store import JOURNAL, RunFolder, begin_folder
from alfworld_sft.types import Episode


@dataclass(frozen=True, slots=True)
class Result:
    """What an import made: the dataset's summary, and what became of the records."""

    summary: Summary
    tally: Tally


def import_foreign(files: Sequence[Path], kind: Format, config: ImportConfig, out: Path) -> Result:
    """Make a dataset's folder of other projects' files; it appears once it is complete. Raises UserError."""
    if config.games.source == GENERATE:
        raise UserError(f"games.source={GENERATE} has no end, so no game can be found in it; name a folder of games")
    if out.exists():
        raise UserError(f"-o {out}: it exists already; name a new folder")
    check_split_is_trainable(config.games.split, allow=config.games.allow_eval_split)
    refuse_duplicates([file for file in files if file.exists()], "FILE")
    config = _with_absolute_paths(config)
    template = load_template(config.prompt.template) if config.prompt.template else None
    stamp = stamp_of(files, kind, config, template)
    games = list_games([config.games.source])
    try:
        with whole_folder(out) as folder:
            begin_folder(folder, stamp)
            with (folder / JOURNAL).open("wb") as journal:
                selection = Selection(
                    config.games,
                    GameFinder(games.refs, config.games.split),
                    template,
                    config.seed,
                    lambda e: journal.write(to_line(e)),
                )
                records = (record for file in files for record in read_foreign(file, kind))
                imported = list(selection.select(records))
            _refuse_nothing(imported, selection.tally, files, require_success=config.dataset.require_success)
            with RunFolder(folder, is_new=True) as run:
                summary = _write_dataset(run, config, template, imported)
                finish(run, games, {one.game_id for one in imported if one.played}, summary, selection.tally)
    except OSError as error:
        raise UserError(f"-o {out}: {os_reason(error)}; name a folder that can be written") from error
    return Result(summary, selection.tally)


def _with_absolute_paths(config: ImportConfig) -> ImportConfig:
    """Return the config with paths that stay valid in another folder."""
    games = config.games.model_copy(update={"source": absolute_source(config.games.source)})
    prompt = config.prompt
    if prompt.template and prompt.template.endswith(".toml"):
        prompt = prompt.model_copy(update={"template": str(Path(prompt.template).absolute())})
    return config.model_copy(update={"games": games, "prompt": prompt})


def _refuse_nothing(
    imported: Sequence[Imported], tally: Tally, files: Sequence[Path], *, require_success: bool
) -> None:
    """Raise DatasetError where there would be no rows."""
    names = ", ".join(file.name for file in files)
    if not imported:
        reasons = ((tally.unread, "not read"), (tally.unwanted, "left out"), (tally.unknown, "of games not at hand"))
        said = "; ".join(f"{r.records} {why}, the first: {r.first}" for r, why in reasons if r.records)
        raise DatasetError(f"{names}: none of {tally.records} records can be imported: {said or 'there are none'}")
    if not any(one.targets and is_kept(one.success, require_success) for one in imported):
        way_out = "keep lost ones with dataset.require_success=false" if require_success else "check --format"
        raise DatasetError(f"{names}: no reply of {tally.imported} episodes is a training target; {way_out}")


def _write_dataset(
    run: RunFolder, config: ImportConfig, template: Template | None, imported: Sequence[Imported]
) -> Summary:
    """Write the dataset's five files into the run's folder."""
    options = config.dataset
    if template is None:
        return write_recorded(run, config, imported)
    return build_dataset(
        run,
        Rendering(template, config.prompt.history_length, rows_per=options.rows_per),
        require_success=options.require_success,
        val_fraction=options.val_fraction,
        seed=config.seed,
    )


def write_recorded(run: RunFolder, config: ImportConfig, imported: Sequence[Imported]) -> Summary:
    """Write a dataset of conversations as they were recorded; return what went into it."""
    options, summary = config.dataset, Summary()
    kept = {one.index: count_recorded_rows(one, options.rows_per) for one in imported
            if is_kept(one.success, options.require_success)}  # fmt: skip
    rows_by_game: dict[str, GameRows] = {}
    for one in imported:
        if rows := kept.get(one.index):
            before = rows_by_game.get(one.group, GameRows(one.task_type, 0))
            rows_by_game[one.group] = GameRows(one.task_type, before.rows + rows)
    held_out = held_out_games(rows_by_game, options.val_fraction, config.seed)
    episodes = run.episodes()
    with dataset_files(run.path) as files:
        for one in imported:
            episode = next(episodes) if one.played else None
            _count(summary, one, episode)
            if one.index not in kept:
                continue
            raw = trajectory_of(episode, one.recorded.messages) if episode else unplayed_trajectory(one)
            files.write(raw, recorded_rows(one, options.rows_per), held_out=one.group in held_out)
            summary.kept += 1
            summary.turns_without_row += len(one.recorded.turns) - len(one.targets)
    summary.rows_train, summary.rows_val = files.train.rows, files.val.rows
    summary.games_train, summary.games_val = len(rows_by_game) - len(held_out), len(held_out)
    return summary


def _count(summary: Summary, one: Imported, episode: Episode | None) -> None:
    """Count an imported conversation, kept or not."""
    if episode is not None:
        summary.add(episode)
        return
    summary.episodes += 1
    summary.won += one.success is True
    summary.steps += len(one.recorded.turns)
