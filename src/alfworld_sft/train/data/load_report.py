"""What happened to the rows that were loaded, and what should a user know of it before training?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from alfworld_sft.counts import counted, noun_for
from alfworld_sft.dataset.read import TrainingRow
from alfworld_sft.models.loss_mask import TokenKind
from alfworld_sft.train.data.options import SampleOptions
from alfworld_sft.train.data.sample import Sample


@dataclass
class LoadReport:
    """What happened to the rows. `lengths` has one entry per sequence, before any cut."""

    rows: int = 0
    samples: int = 0
    next_state: int = 0
    next_state_missing: int = 0
    cut: int = 0
    dropped_rows: int = 0
    branches: int = 0
    unstable: int = 0
    begun_by_assistant: int = 0
    extra_rows: int = 0  # split from rows that train several replies
    tokens: int = 0
    trained_tokens: int = 0
    observation_tokens: int = 0
    prediction_tokens: int = 0  # in replies
    lengths: list[int] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    games: set[str] = field(default_factory=set)

    def add_row(self, row: TrainingRow) -> None:
        """Count a row, and note its game, where it names one."""
        self.rows += 1
        self.notes.update(row.notes)
        if row.game_id is not None:
            self.games.add(row.game_id)

    def record(self, sample: Sample | None, rows: int, length: int, *, is_next_state: bool = False) -> Iterator[Sample]:
        """Count a sequence that stands for some rows, and yield the sample that it became, if it became one."""
        self.lengths.append(length)
        if sample is None:
            self.dropped_rows += rows
            return
        self.samples += 1
        self.cut += sample.truncated
        self.tokens += len(sample)
        self.trained_tokens += int(np.count_nonzero(sample.weight))
        self.observation_tokens += int(np.count_nonzero(sample.kind == TokenKind.OBSERVATION))
        if not is_next_state:
            self.prediction_tokens += int(np.count_nonzero(sample.kind == TokenKind.PREDICTION))
        yield sample

    def warnings(self, options: SampleOptions) -> list[str]:
        """Return warnings that a user should see before training, one per line."""
        lines = [f"{count} of {counted(self.rows, 'row')}: {note}" for note, count in self.notes.items()]
        longer = f"longer than data.max_length={options.max_length}"
        if self.cut:
            how = "after the last reply that fits" if options.truncation == "turn" else f"at the {options.truncation}"
            lines.append(
                f"{self.cut} of {counted(self.samples, 'sequence')} {noun_for(self.cut, 'is', 'are')} {longer}"
                f" and {noun_for(self.cut, 'was', 'were')} cut {how}"
            )
        if self.dropped_rows:
            rows = counted(self.rows + self.extra_rows, "row")
            dropped = f"{self.dropped_rows} of {rows} {noun_for(self.dropped_rows, 'was', 'were')}"
            lines.append(f"{dropped} dropped: no trained token is left (too long, as context, or nothing new to learn)")
        if self.next_state_missing > 0 and options.next_state_rows > 1:
            wanted = f"{self.next_state + self.next_state_missing} rows"
            lines.append(
                f"worldmodel.next_state_rows={options.next_state_rows:g} asks for {wanted}, of which the data has"
                f" {self.next_state}; collect with worldmodel.alternatives=K for more"
            )
        if self.branches:
            alone = noun_for(self.branches, "is", "are")
            continued = f"{counted(self.branches, 'row')} {noun_for(self.branches, 'does', 'do')} not continue"
            lines.append(f"{continued} the conversation of the episode and {alone} trained alone")
        if self.unstable:
            lines.append(
                "the chat template rewrites earlier turns (it strips <think>, say): each reply is trained in a sequence"
                f" of its own, as the model will be asked for it (conversations: {self.unstable})"
            )
        if options.observation_weight and self.samples and not self.observation_tokens:
            lines.append("worldmodel.observation_loss has no effect: no sequence has an observation after a reply")
        elif options.observation_weight and self.unstable:
            lines.append("worldmodel.observation_loss has no effect on those")
        if options.prediction_weight != 1 and self.samples and not self.prediction_tokens:
            lines.append(
                f"worldmodel.loss_weight={options.prediction_weight:g} has no effect: no reply has a <prediction>"
            )
        if self.begun_by_assistant:
            lines.append(
                "a message of the assistant that begins a conversation answers nothing: it is context and not trained"
                f" (conversations: {self.begun_by_assistant})"
            )
        return lines
