"""How does a run's journal become a dataset? Select, split, write, summarize."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from alfworld_sft.counts import counted
from alfworld_sft.dataset.rows import Rendering, count_rows, is_target, rows_of
from alfworld_sft.dataset.split import GameRows, held_out_games
from alfworld_sft.dataset.write import dataset_files, raw_trajectory
from alfworld_sft.errors import DatasetError
from alfworld_sft.runs.store import RunFolder, resume_command
from alfworld_sft.types import TASK_TYPES, Episode, Reply, Step
from alfworld_sft.usage import Usage


@dataclass
class Reasons:
    """Who wrote the reasoning for the expert's actions, and why replies were rejected; no deliberate mistakes."""

    written_by: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)

    def add(self, reply: Reply) -> None:
        """Count one turn, if a model was asked for its reasoning."""
        if reply.trained and reply.think_by is not None:
            self.written_by[reply.think_by] += 1
            self.rejected.update(reply.rejected or ())

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for the stamp."""
        by = {writer: self.written_by[writer] for writer in ("model", "expert")}
        return {"by": by, "rejected": dict(sorted(self.rejected.items()))}


@dataclass
class Lessons:
    """What a teacher did: its answers, how many of them were the policy's own action, and the turns it acted in."""

    answers: int = 0
    agreed: int = 0
    acted: int = 0

    def add(self, step: Step) -> None:
        """Count one turn."""
        self.acted += step.reply.said_by == "teacher"
        if step.teacher is not None:
            self.answers += 1
            self.agreed += step.teacher.command == step.command

    def as_dict(self) -> dict[str, int]:
        """Return plain values for the stamp."""
        return {"answers": self.answers, "agreed": self.agreed, "acted": self.acted}


def lessons_in_words(lessons: dict[str, int]) -> str:
    """Return the figures of `Lessons.as_dict` in one sentence."""
    agreed = f"{lessons['agreed']} of them the policy's own action"
    return (
        f"teacher: {counted(lessons['answers'], 'answer')}, {agreed}; it acted in {counted(lessons['acted'], 'turn')}"
    )


def reasons_in_words(reasons: dict[str, Any]) -> str:
    """Return the figures of `Reasons.as_dict` in one sentence."""
    why = ", ".join(f"{count} for the {reason}" for reason, count in reasons["rejected"].items())
    said = f"reasons: {reasons['by']['model']} written by the model, {reasons['by']['expert']} the expert's own"
    return f"{said}; replies rejected: {why or 'none'}"


@dataclass
class Summary:
    """What went into a dataset.

    `success_by_task_type` holds (won, played); it, `reasons`, `lessons` and `usage` are over all episodes, kept or not.
    """

    episodes: int = 0
    won: int = 0
    kept: int = 0
    steps: int = 0
    rows_train: int = 0
    rows_val: int = 0
    games_train: int = 0
    games_val: int = 0
    turns_without_row: int = 0
    alternatives: int = 0
    grammar: Counter[str] = field(default_factory=Counter)
    success_by_task_type: dict[str, tuple[int, int]] = field(default_factory=dict)
    reasons: Reasons = field(default_factory=Reasons)
    lessons: Lessons = field(default_factory=Lessons)
    usage: Usage = field(default_factory=Usage)

    def add(self, episode: Episode) -> None:
        """Count a played episode."""
        self.episodes += 1
        self.won += episode.success
        self.steps += len(episode.steps)
        self.grammar[episode.grammar] += 1
        won, played = self.success_by_task_type.get(episode.task_type, (0, 0))
        self.success_by_task_type[episode.task_type] = (won + episode.success, played + 1)
        self.usage.add(episode)
        for step in episode.steps:
            self.reasons.add(step.reply)
            self.lessons.add(step)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for the stamp."""
        by_type = {t: self.success_by_task_type[t] for t in TASK_TYPES if t in self.success_by_task_type}
        return {
            "episodes": self.episodes,
            "won": self.won,
            "kept": self.kept,
            "dropped": self.episodes - self.kept,
            "steps": self.steps,
            "turns_without_row": self.turns_without_row,
            **({"alternatives": self.alternatives} if self.alternatives else {}),
            "rows_train": self.rows_train,
            "rows_val": self.rows_val,
            "games_train": self.games_train,
            "games_val": self.games_val,
            "grammar": dict(sorted(self.grammar.items())),
            "success_by_task_type": {t: {"won": won, "played": played} for t, (won, played) in by_type.items()},
        }


def build_dataset(
    run: RunFolder, rendering: Rendering, *, require_success: bool, val_fraction: float, seed: int
) -> Summary:
    """Write the dataset's five files into the run's folder, replacing any that exist.

    Two passes over the journal: one counts, one writes. Raises DatasetError if there would be no rows.
    """
    summary = Summary()
    rows_by_game: dict[str, GameRows] = {}
    for episode in _select_episodes(run.episodes(), require_success, summary):
        rows = count_rows(episode, rendering.rows_per)
        summary.kept += 1
        summary.turns_without_row += sum(not is_target(step) for step in episode.steps)
        if rows:
            summary.alternatives += sum(len(step.alternatives) for step in episode.steps)
            before = rows_by_game.get(episode.game_id, GameRows(episode.task_type, 0))
            rows_by_game[episode.game_id] = GameRows(episode.task_type, before.rows + rows)
    if not rows_by_game:
        raise DatasetError(_explain_empty(run, summary, require_success))

    held_out = held_out_games(rows_by_game, val_fraction, seed)
    with dataset_files(run.path) as files:
        for episode in _select_episodes(run.episodes(), require_success):
            trajectory = raw_trajectory(episode, rendering)
            files.write(trajectory, rows_of(episode, rendering), held_out=episode.game_id in held_out)

    summary.rows_train, summary.rows_val = files.train.rows, files.val.rows
    summary.games_train, summary.games_val = len(rows_by_game) - len(held_out), len(held_out)
    return summary


def _select_episodes(
    episodes: Iterable[Episode], require_success: bool, summary: Summary | None = None
) -> Iterator[Episode]:
    for episode in episodes:
        if summary:
            summary.add(episode)
        if is_kept(episode.success, require_success):
            yield episode


def is_kept(success: bool | None, require_success: bool) -> bool:
    """Return whether an episode's rows are written: all, or those of episodes that are known to be won."""
    return bool(success) or not require_success


def _explain_empty(run: RunFolder, summary: Summary, require_success: bool) -> str:
    if require_success and summary.episodes and not summary.won:
        one = summary.episodes == 1
        lost = "its only episode was not won" if one else f"none of the {summary.episodes} episodes was won"
        return (
            f"{run.path}: {lost}, so no data is left; play more or better, or keep lost episodes as well:"
            f" {resume_command(run.kind, run.path)} dataset.require_success=false"
        )
    if not summary.episodes:
        reasons = list(run.failed.values())
        return f"{run.path}: no episode was played" + (f"; the first failed: {reasons[0]}" if reasons else "")
    return f"{run.path}: no turn of {counted(summary.episodes, 'episode')} is a training target"
