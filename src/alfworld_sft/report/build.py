"""A report, from folders to the file: `make_report` reads the runs, replays their episodes and writes the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alfworld_sft import __version__
from alfworld_sft.errors import file_errors
from alfworld_sft.evaluate.metrics import LOOP_REPEATS
from alfworld_sft.files import whole_file
from alfworld_sft.report.figures import (
    compare_with_first,
    count_kinds,
    measure_run,
    play_figures,
    short_names,
    world_model_figures,
)
from alfworld_sft.report.page import in_chunks, read_charting_library, write_page
from alfworld_sft.report.read import Run, read_runs
from alfworld_sft.report.replay import FindGame, game_finder, replay
from alfworld_sft.report.tokens import count, load_encoder, rendering_of
from alfworld_sft.report.training import curves_of
from alfworld_sft.report.turns import Row, Turn, failed_row, row_of, turns_of
from alfworld_sft.train.config import DataSection

if TYPE_CHECKING:
    from alfworld_sft.models.chat_encoder import ChatEncoder

CHUNK = 50
"""Episodes that the page opens at once."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a report contains. `model` names a tokenizer, `games` where games are (None: where the stamps say)."""

    model: str | None = None
    games: str | None = None
    replays: bool = True
    max_length: int | None = None


@dataclass
class Made:
    """What was written: episodes, those whose game was not found, and turns that the world answers differently."""

    episodes: int = 0
    not_found: int = 0
    differing: int = 0
    rows: list[Row] = field(default_factory=list)


def make_report(
    paths: Sequence[Path], output: Path, options: Options, on_episode: Callable[[], None] = lambda: None
) -> Made:
    """Write one HTML file about some runs' folders; raises UserError for what is none, or where it cannot be written.

    Episodes are read one at a time; memory holds a line for each, and one chunk of their turns.
    """
    library = read_charting_library()
    runs = read_runs(paths)
    encoder = load_encoder(options.model) if options.model else None
    finders = [game_finder(run, options.games) if run.journal and options.replays else None for run in runs]
    made = Made()
    episodes = _episodes(runs, finders, encoder, made, on_episode)
    chunks = (_plain_chunk(chunk) for chunk in in_chunks(episodes, CHUNK))
    with file_errors("write", output, "name another file with --output"), whole_file(output) as file:
        write_page(file, chunks, _summary(runs, options, made), library)
    return made


def _episodes(
    runs: Sequence[Run],
    finders: Sequence[FindGame | None],
    encoder: ChatEncoder | None,
    made: Made,
    on_episode: Callable[[], None],
) -> Iterator[list[Turn]]:
    """Yield the turns of each episode, and note its row."""
    for number, (run, find) in enumerate(zip(runs, finders, strict=True)):
        if run.journal is None:
            continue
        rendering, repeats = rendering_of(run), run.stamped("protocol", "max_repeats")
        for episode in run.journal.episodes():
            known = find(episode) if find else None
            replayed = replay(known, episode) if known else None
            counted = count(episode, rendering, encoder) if rendering else None
            length = counted.length if counted else None
            circle = repeats if isinstance(repeats, int) and repeats > 1 else LOOP_REPEATS
            made.rows.append(row_of(number, episode, replayed, length, circle))
            made.episodes += 1
            made.not_found += find is not None and known is None
            made.differing += any(turn.world_says is not None for turn in replayed or ())
            on_episode()
            yield turns_of(episode, replayed, counted.replies if counted else None)


def _summary(runs: Sequence[Run], options: Options, made: Made) -> Iterator[dict[str, Any]]:
    """Yield what the page shows before an episode is opened; the rows are known by then."""
    metrics = [measure_run(run.journal) if run.journal else None for run in runs]
    failed = [failed_row(n, f) for n, run in enumerate(runs) if run.journal for f in run.journal.failed]
    yield {
        "version": __version__,
        "chunk": CHUNK,
        "types": short_names(),
        "model": options.model,
        "replays": options.replays,
        "not_found": made.not_found,
        "max_length": options.max_length or _max_length(runs),
        "runs": [
            {
                "name": run.name,
                "kind": run.kind,
                "stamp": {key: value for key, value in run.stamp.items() if key not in ("failed", "sha256")},
                "play": play_figures(run, measured) if measured else None,
                "kinds": count_kinds(run.journal) if run.journal else None,
                "world_model": world_model_figures(run.journal) if run.journal else None,
                "training": [_plain(curve) for curve in curves_of(run.records)] if run.records else None,
            }
            for run, measured in zip(runs, metrics, strict=True)
        ],
        "comparisons": compare_with_first(runs, metrics) if sum(m is not None for m in metrics) > 1 else [],
        "rows": [_plain(row) for row in (*made.rows, *failed)],
    }


def _max_length(runs: Sequence[Run]) -> int:
    """Return the sequence length that a training run of the report used, else the default of train."""
    used = [run.stamped("config", "data", "max_length") for run in runs]
    return next((length for length in used if isinstance(length, int)), DataSection().max_length)


def _plain_chunk(episodes: Sequence[Any]) -> dict[str, Any]:
    """Return the turns of some episodes; commands are numbers of a table, since most come again and again."""
    table: dict[str, int] = {}
    return {
        "episodes": [
            [
                {**_plain(turn), "commands": [table.setdefault(command, len(table)) for command in turn.commands]}
                for turn in turns
            ]
            for turns in episodes
        ],
        "commands": list(table),
    }


def _plain(record: Any) -> dict[str, Any]:
    return {f.name: getattr(record, f.name) for f in fields(record)}
