"""How do rows become samples? Token ids, and for every token the weight of the loss of predicting it.

A sample is the unit of an optimizer step: a single-turn row, or all rows of a trajectory folded into one conversation
(see fold.py). The loss of a step is Σ weight·nll ÷ Σ weight over its samples, the token mean of row-by-row training.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from alfworld_sft.counts import counted, noun_for
from alfworld_sft.dataset.read import Columns, TrainingRow, dataset_file, read_rows, refuse_duplicates
from alfworld_sft.errors import DatasetError
from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.models.loss_mask import Encoded, TokenKind
from alfworld_sft.train.config import TrainConfig
from alfworld_sft.train.data.fold import (
    Chain,
    Part,
    TurnWeights,
    Weighting,
    add_to_chains,
    fold,
    graft_chains,
    weights_by_row,
)
from alfworld_sft.train.data.next_state import NextStates
from alfworld_sft.train.data.sample import Leaf, Sample, join
from alfworld_sft.train.log import CONSOLE_INTERVAL_S
from alfworld_sft.types import Message

logger = logging.getLogger(__name__)

Truncation = Literal["turn", "right", "left", "error"]
"""turn: cut after the last reply that fits; right and left: cut at that end; error: refuse."""

FILE_NAMES = {"data.train_files": "train.parquet", "data.val_files": "val.parquet"}


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """The options that determine a sample's tokens and weights.

    `prediction_weight` scales the loss on <prediction>, `observation_weight` is that of the observations in a
    conversation. `next_state_rows` adds this many rows per action row that predict only what the game says next.
    """

    max_length: int = 2048
    truncation: Truncation = "turn"
    weighting: Weighting = "uniform"
    fold: bool = True
    prediction_weight: float = 1.0
    observation_weight: float = 0.0
    next_state_rows: float = 0.0
    seed: int = 1


def sample_options(config: TrainConfig) -> SampleOptions:
    """Return the options of a training config."""
    data, world = config.data, config.worldmodel
    return SampleOptions(
        max_length=data.max_length,
        truncation=data.truncation,
        weighting=data.multiturn.weighting,
        fold=data.multiturn.fold,
        prediction_weight=world.loss_weight,
        observation_weight=world.observation_loss,
        next_state_rows=world.next_state_rows,
        seed=config.trainer.seed,
    )


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
    lengths: list[int] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, sample: Sample | None, rows: int, length: int) -> None:
        """Count a sequence that stands for some rows, whether or not it became a sample."""
        self.lengths.append(length)
        if sample is None:
            self.dropped_rows += rows
            return
        self.samples += 1
        self.cut += sample.truncated
        self.tokens += len(sample)
        self.trained_tokens += int(np.count_nonzero(sample.weight))

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
            if options.observation_weight:
                lines.append("worldmodel.observation_loss has no effect on those")
        if self.begun_by_assistant:
            lines.append(
                "a message of the assistant that begins a conversation answers nothing: it is context and not trained"
                f" (conversations: {self.begun_by_assistant})"
            )
        return lines


@dataclass(frozen=True, slots=True)
class LoadedSamples:
    """Samples in the order of the files, and what happened to the rows."""

    samples: list[Sample]
    report: LoadReport


def load_samples(
    files: Sequence[str | Path],
    encoder: ChatEncoder,
    columns: Columns,
    options: SampleOptions,
    *,
    option: str = "data.train_files",
) -> LoadedSamples:
    """Return the samples of dataset files or folders, possibly none; `option` names them in errors.

    Raises DatasetError for anything unreadable (see table.py) or named twice, and for a sequence that is too long if
    `truncation` is error.
    """
    paths = [dataset_file(file, FILE_NAMES.get(option, "train.parquet"), option) for file in files]
    refuse_duplicates(paths, option)
    rows = read_rows(paths, columns, option)
    report = LoadReport()
    samples = _samples_of_rows(rows, encoder, options, report, single=not columns.multiturn)
    return LoadedSamples(list(_log_progress(samples, report, option)), report)


def samples_of(
    rows: Iterable[TrainingRow], encoder: ChatEncoder, options: SampleOptions, *, multiturn: bool
) -> list[Sample]:
    """Return the samples of rows already in memory; those without a trained token are left out."""
    return list(_samples_of_rows(iter(rows), encoder, options, LoadReport(), single=not multiturn))


def _log_progress(samples: Iterator[Sample], report: LoadReport, option: str) -> Iterator[Sample]:
    """Pass samples through, logging their number now and then: a large dataset takes minutes."""
    said = time.monotonic()
    for sample in samples:
        yield sample
        if time.monotonic() - said >= CONSOLE_INTERVAL_S:
            said = time.monotonic()
            sequences = f"{report.samples:,} {noun_for(report.samples, 'sequence')}"
            logger.info("%s: %s with %s tokens so far", option, sequences, f"{report.tokens:,}")


def _samples_of_rows(
    rows: Iterator[TrainingRow], encoder: ChatEncoder, options: SampleOptions, report: LoadReport, *, single: bool
) -> Iterator[Sample]:
    """Yield the samples of all rows: single-turn rows immediately, a trajectory once all of its rows are known."""
    trajectories: dict[tuple[str, ...], list[Chain]] = {}
    next_states = NextStates()
    for row in rows:
        report.rows += 1
        report.notes.update(row.notes)
        chains: list[Chain] = []
        if row.messages:
            chains = trajectories.setdefault(_trajectory_key(row), [])
            add_to_chains(chains, row.messages, Part(row.place, len(row.messages), row.turns, row.untrained))
        if options.next_state_rows:
            next_states.add(row, chains)
        if single:
            messages = (*row.prompt, Message("assistant", row.response))
            with _name_row(row.place):
                encoded = encoder.encode_reply(messages)
            yield from _record(
                [_make_sample(encoded, _single_turn_weights(row), options, 1, row.place)], 1, encoded, report
            )
    if not single:
        for of_one in map(graft_chains, trajectories.values()):
            report.branches += len(of_one) - 1
            for chain in of_one:
                yield from _trajectory_samples(chain, encoder, options, report)
    if options.next_state_rows:
        yield from _next_state_samples(next_states, encoder, options, report)


def _trajectory_key(row: TrainingRow) -> tuple[str, ...]:
    """Return a key shared by the rows of one trajectory; a row without an episode id is a trajectory of its own."""
    file = row.place.rpartition(" row ")[0]
    episode = row.extra.get("episode_id")
    return (row.place,) if episode is None else (file, str(episode))


_ONCE = TurnWeights((1.0,), (1.0,))


def _single_turn_weights(row: TrainingRow) -> TurnWeights:
    """Return the weights of a single-turn row: replies in the prompt are context, and possibly the response too."""
    asked = (0.0,) * sum(message.role == "assistant" for message in row.prompt)
    return TurnWeights((*asked, float(row.response_trained)), (*asked, 1.0))


@dataclass(frozen=True, slots=True)
class _EncodedRows:
    """The rows of a chain in tokens: the full conversation, and each branch (by its row's number) up to its own end."""

    parts: Sequence[Part]
    weights: Sequence[TurnWeights]
    full: Encoded
    branches: Mapping[int, Encoded]

    def length(self, row: int) -> int:
        """Return how many tokens a row has."""
        return len(self.branches[row]) if row in self.branches else self.full.ends[self.parts[row].turns - 1]


def _trajectory_samples(
    chain: Chain, encoder: ChatEncoder, options: SampleOptions, report: LoadReport
) -> Iterator[Sample]:
    """Yield the samples of a chain of rows: one, if all rows can be folded."""
    parts = chain.parts
    weights = weights_by_row(parts, options.weighting)
    report.begun_by_assistant += chain.messages[0].role == "assistant"
    with _name_row(parts[-1].place):
        full = encoder.encode_conversation(chain.messages)
    if not full.stable:
        yield from _samples_by_reply(chain, parts, weights, encoder, options, report)
        return
    branches: dict[int, Encoded] = {}
    for row, part in enumerate(parts):
        if part.branch is not None:
            with _name_row(part.place):
                branches[row] = encoder.encode_conversation((*chain.messages[: part.messages - 1], part.branch))
    rows = _EncodedRows(parts, weights, full, branches)
    for group in _group_rows(rows, options):
        encoded = branches.get(group[-1]) or _take_prefix(full, parts[group[-1]])
        yield from _record([_fold_rows(rows, group, encoded, options)], len(group), encoded, report)


def _fold_rows(rows: _EncodedRows, group: Sequence[int], last: Encoded, options: SampleOptions) -> Sample | None:
    """Return the sample of some rows of a chain, of which `last` is the longest, with a branch for each of theirs."""
    place = rows.parts[group[-1]].place
    branching = [row for row in group if row in rows.branches]
    if not branching or len(group) == 1:
        return _make_sample(last, fold(rows.weights[row] for row in group), options, len(group), place)
    turns = (0.0,) * len(rows.full.ends)
    along = [rows.weights[row] for row in group if row not in rows.branches]
    trunk = _weigh(rows.full, fold([TurnWeights(turns, turns), *along]), options, len(group), place, keep_all=True)
    leaves = [_leaf(rows.branches[row], rows.weights[row], options, rows.parts[row]) for row in branching]
    truncated = any(rows.length(row) > options.max_length for row in group)
    joined = replace(join(trunk, leaves), truncated=truncated)
    return joined if joined.weight.any() else None


def _leaf(encoded: Encoded, weights: TurnWeights, options: SampleOptions, part: Part) -> Leaf:
    """Return a branch's row with its weights; its reply is never taken from the trunk, even where it begins alike."""
    tokens = enumerate(zip(encoded.turn, encoded.mask, strict=True))
    leaves = next((token for token, (turn, said) in tokens if said and turn == part.turns - 1), len(encoded))
    return Leaf(_weigh(encoded, weights, options, 1, part.place), leaves)


def _samples_by_reply(
    chain: Chain,
    parts: Sequence[Part],
    weights: Sequence[TurnWeights],
    encoder: ChatEncoder,
    options: SampleOptions,
    report: LoadReport,
) -> Iterator[Sample]:
    """Yield a sample per trained reply, rendered as its own prefix, with the reply's weight in the rows."""
    ends = [index + 1 for index, message in enumerate(chain.messages) if message.role == "assistant"]
    report.unstable += len(ends) > 1
    replies = []
    of_trunk = fold(
        row if part.branch is None else _without_reply(row) for part, row in zip(parts, weights, strict=True)
    )
    for turn, weight in enumerate(of_trunk.trained):
        if weight and ends[turn] > 1:
            part = next(part for part in parts if part.turns > turn + bool(part.branch) and turn not in part.untrained)
            replies.append((part, turn, weight, chain.messages[: ends[turn]]))
    for part, row in zip(parts, weights, strict=True):
        if part.branch is not None and row.trained[-1]:
            context = chain.messages[: part.messages - 1]
            replies.append((part, part.turns - 1, row.trained[-1], (*context, part.branch)))
    if not replies:
        report.dropped_rows += len(parts)
        return
    report.extra_rows += len(replies) - len(parts)
    for part, turn, weight, messages in replies:
        place = part.place if part.turns == turn + 1 else f"{part.place}, reply {turn + 1}"
        with _name_row(place):
            encoded = encoder.encode_reply(messages)
        made = _make_sample(encoded, _single_reply_weights(turn, weight), options, 1, place)
        yield from _record([made], 1, encoded, report)


def _without_reply(weights: TurnWeights) -> TurnWeights:
    """Return the weights of a row for all but its last reply."""
    return TurnWeights((*weights.trained[:-1], 0.0), weights.held)


def _single_reply_weights(turn: int, weight: float) -> TurnWeights:
    """Return the weights of a conversation with only one trained reply."""
    weights = (*[0.0] * turn, weight)
    return TurnWeights(weights, weights)


@contextmanager
def _name_row(place: str) -> Iterator[None]:
    """Add the row to errors raised by a chat template."""
    try:
        yield
    except DatasetError as error:
        raise DatasetError(f"{place}: {error}") from None


def _group_rows(rows: _EncodedRows, options: SampleOptions) -> list[list[int]]:
    """Return which rows go into one sample. If truncated on the left, a longer row is no prefix and stays alone."""
    every = range(len(rows.parts))
    if not options.fold:
        return [[row] for row in every]
    if options.truncation != "left":
        return [list(every)]
    fits = [row for row in every if rows.length(row) <= options.max_length]
    return [group for group in (fits, *([row] for row in every if row not in fits)) if group]


def _take_prefix(full: Encoded, part: Part) -> Encoded:
    """Return one of the chain's rows in tokens."""
    if part.turns == len(full.ends):
        return full
    end = full.ends[part.turns - 1]
    return Encoded(
        full.ids[:end], full.mask[:end], full.turn[:end], full.kind[:end], full.ends[: part.turns], stable=True
    )


def _make_sample(
    encoded: Encoded, weights: TurnWeights, options: SampleOptions, rows: int, place: str
) -> Sample | None:
    """Return a sample of one sequence, cut to fit; None if no trained token remains."""
    sample = _weigh(encoded, weights, options, rows, place)
    return sample if sample.weight.any() else None


def _weigh(
    encoded: Encoded, weights: TurnWeights, options: SampleOptions, rows: int, place: str, *, keep_all: bool = False
) -> Sample:
    """Return a sequence with its weights, cut to fit.

    `keep_all` is for a trunk: tokens at its end stay, without weight, as branches may need them; of its rows those that
    would be cut on the left are not among them.
    """
    first, last = (
        (0, len(encoded)) if keep_all and options.truncation == "left" else _token_range(encoded, options, place)
    )
    turn = np.asarray(encoded.turn, dtype=np.intp)  # (tokens,)
    kind = np.asarray(encoded.kind, dtype=np.uint8)
    scale = np.where(kind == TokenKind.PREDICTION, options.prediction_weight, 1.0)
    weight = np.where(np.asarray(encoded.mask, dtype=bool), np.asarray(weights.trained)[turn] * scale, 0.0)
    weight += np.where(kind == TokenKind.OBSERVATION, np.asarray(weights.held)[turn] * options.observation_weight, 0.0)
    weight[first : first + 1] = 0.0  # no token precedes the first one to predict it
    weight[last:] = 0.0
    if keep_all:
        first, last = 0, len(encoded)
    return Sample(
        ids=np.asarray(encoded.ids[first:last], dtype=np.int32),
        weight=weight[first:last].astype(np.float32),
        kind=kind[first:last],
        rows=rows,
        truncated=len(encoded) > options.max_length,
        key=place,
    )


def _token_range(encoded: Encoded, options: SampleOptions, place: str) -> tuple[int, int]:
    """Return the range of tokens to keep, [first, last)."""
    length, limit = len(encoded), options.max_length
    if length <= limit:
        return 0, length
    match options.truncation:
        case "left":
            return length - limit, length
        case "right":
            return 0, limit
        case "turn":
            return 0, max((end for end in encoded.ends if end <= limit), default=0)
        case "error":
            raise DatasetError(
                f"{place}: {length} tokens are more than data.max_length={limit}; raise it, or set data.truncation=turn"
            )


def _record(samples: Sequence[Sample | None], rows: int, encoded: Encoded, report: LoadReport) -> Iterator[Sample]:
    for sample in samples:
        report.add(sample, rows, len(encoded))
        if sample is not None:
            yield sample


def _next_state_samples(
    next_states: NextStates, encoder: ChatEncoder, options: SampleOptions, report: LoadReport
) -> Iterator[Sample]:
    """Yield the samples that ask what the game says after an action, `next_state_rows` of them per action row."""
    chosen = next_states.choose(options.next_state_rows, options.seed)
    report.next_state_missing = round(options.next_state_rows * next_states.actions) - len(chosen)
    for one in chosen:
        with _name_row(one.place):
            encoded = encoder.encode_pair(one.question, one.answer)
        told = [TokenKind.PREDICTION if t else kind for t, kind in zip(encoded.mask, encoded.kind, strict=True)]
        encoded = replace(encoded, kind=told)
        report.next_state += 1
        name = f"{one.place}, {one.name}"
        yield from _record([_make_sample(encoded, _ONCE, options, 1, name)], 1, encoded, report)
