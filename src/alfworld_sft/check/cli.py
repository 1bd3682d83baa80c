"""`alfworld-sft check`: reads the arguments, runs the checks that the data allows, prints sections or JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from alfworld_sft.check.dataset_files import report_files
from alfworld_sft.check.findings import Section, Severity, as_json
from alfworld_sft.check.foreign import report_foreign
from alfworld_sft.check.overlaps import report_overlaps
from alfworld_sft.check.run import replay_journal, report_replay
from alfworld_sft.counts import counted
from alfworld_sft.errors import ConfigError, RunFolderError, UserError
from alfworld_sft.foreign.read import Format
from alfworld_sft.games.listed import ListedGames, known_games
from alfworld_sft.runs.played_games import PlayedGames, games_of_run
from alfworld_sft.runs.store import JOURNAL, RUN_FILE, read_stamp
from alfworld_sft.strict_json import to_json
from alfworld_sft.system import usable_cores
from alfworld_sft.terminal import printable
from alfworld_sft.train.preflight import FormReport, check_forms, refuse_wrong

_STYLES: dict[Severity, str] = {"fault": "red", "warning": "yellow", "fact": ""}
_LABELS: dict[Severity, str] = {"fault": "error: ", "warning": "warning: ", "fact": ""}


def check_command(
    data: Annotated[Path, typer.Argument(help="A run's folder, a dataset's folder, or one file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Overrides of train, such as data.max_length=4096.")
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option(help="Where the games are, if not where the run found them. Repeatable.")
    ] = None,
    foreign: Annotated[
        Format | None, typer.Option("--format", help="The file is another project's data, in this format.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Count tokens with this model's tokenizer.")] = None,
    show_mask: Annotated[bool, typer.Option("--show-mask", help="Show which tokens carry loss.")] = False,
    samples: Annotated[int, typer.Option(min=1, help="Number of samples that --show-mask shows.")] = 2,
    no_color: Annotated[
        bool, typer.Option("--no-color", help="Mark trained tokens with brackets instead of colours.")
    ] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes that replay; default: one per core.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check data: replay every recorded step in its game, compare splits, and read the rows as train would.

    Exit code 0: nothing is wrong; 2: something is.
    """
    if show_mask and model is None:
        raise UserError("--show-mask needs --model: a folder, or a name on the hub, whose tokenizer is used")
    if show_mask and json_:
        raise ConfigError("--show-mask draws for people, and --json prints for programs: leave one out")
    console = Console(no_color=no_color, highlight=False, soft_wrap=True)
    plain = no_color or console.color_system is None  # e.g. a pipe, which would lose the colours
    forms: list[FormReport] = []
    sections: list[Section] = []
    for section, form in _check(
        data, overrides or [], source or [], foreign, jobs or usable_cores(),
        {"model": model, "shown": samples if show_mask else 0, "plain": plain},
    ):  # fmt: skip
        sections.append(section)
        forms += [form] if form else []
        if not json_:
            _print(console, section)
            for drawn in form.samples if form else ():
                console.print(drawn)
    if json_:
        typer.echo(to_json(as_json(str(data), sections), indent=2))
    if any(section.failed for section in sections):
        raise typer.Exit(2)


def _check(
    data: Path, words: list[str], sources: list[str], foreign: Format | None, jobs: int, tokens: dict[str, Any]
) -> Iterator[tuple[Section, FormReport | None]]:
    """Yield the sections that the data allows: a run is replayed, rows are read, foreign data is understood first."""
    if foreign:
        if words or tokens["model"]:
            raise ConfigError("--format reads another project's data: train's overrides and --model go with datasets")
        yield report_foreign(data, foreign, known_games(sources)), None
        return
    refuse_wrong(words)  # before a replay that takes minutes
    stamp = read_stamp(data) if (data / RUN_FILE).is_file() else None
    games = known_games(sources)
    if stamp is not None and (data / JOURNAL).is_file():
        try:
            played = games_of_run(stamp, sources)
        except UserError as error:
            if sources:
                raise
            replay = Section("replay")
            replay.fault("games", f"no episode was replayed: {error}")
            if not isinstance(error, RunFolderError):  # which names its own way out
                replay.fact("source", "with --source FOLDER, the games of that folder are used")
        else:
            games = played if isinstance(played, ListedGames) else games
            replay = _replay(data, stamp, played, jobs)
        yield replay, None
        if stamp.get("kind") == "evaluate":
            return
    if stamp is not None:
        files = report_files(data, stamp)
        if not (data / JOURNAL).is_file():
            files.warn("journal", f"there is no {JOURNAL}, so no episode was replayed")
        yield files, None
    first: FormReport | None = None
    for form in check_forms(data, words, jobs=jobs, **tokens):
        first = first or form
        yield _section_of(form), form
    if first is not None:
        allowed = bool(((stamp or {}).get("games") or {}).get("eval_split_allowed"))
        yield report_overlaps(first.report.files, games.evaluation_games, allowed=allowed), None


def _replay(data: Path, stamp: Mapping[str, Any], played: PlayedGames, jobs: int) -> Section:
    journal, replayed = replay_journal(data / JOURNAL, played, jobs)
    replay = report_replay(journal, replayed)
    if (lost := _lost(stamp, len(journal))) > 0:
        replay.fault("lost", f"{JOURNAL} lacks {counted(lost, 'episode')} that {RUN_FILE} counts")
    if unplayed := _unplayed(stamp):
        replay.warn("unplayed", f"{counted(unplayed, 'episode')} imported without a game, and not verified")
    return replay


def _lost(stamp: Mapping[str, Any], found: int) -> int:
    """Return how many of the episodes that a finished run counts its journal does not have."""
    counts = stamp.get("counts")
    counted_then = counts.get("episodes") if isinstance(counts, Mapping) else None
    return counted_then - _unplayed(stamp) - found if isinstance(counted_then, int) else 0


def _unplayed(stamp: Mapping[str, Any]) -> int:
    """Return how many episodes of an import have no game that they were replayed in."""
    found = stamp.get("imported")
    imported, replayed = (found.get("imported"), found.get("replayed")) if isinstance(found, Mapping) else (0, 0)
    return imported - replayed if isinstance(imported, int) and isinstance(replayed, int) else 0


def _section_of(form: FormReport) -> Section:
    section = Section(form.form)
    for report in form.reports:
        for name, value in report.facts:
            section.fact(name, f"{name}: {value}")
        for line in report.warnings:
            section.warn("rows", line)
        for line in report.problems:
            section.fault("rows", line)
    return section


def _print(console: Console, section: Section) -> None:
    console.print(Text(section.name, "bold"))
    for severity, _, text in section.findings:
        line = f"  {_LABELS[severity]}{printable(text)}".replace("\n", "\\n")
        console.print(Text(line, _STYLES[severity]))
