"""How do rows become samples? Token ids, and for every token the weight of the loss of predicting it.

A sample is the unit of an optimizer step: a single-turn row, or all rows of a trajectory folded into one conversation
(see `trajectory`). The loss of a step is Σ weight·nll ÷ Σ weight over its samples, the token mean of row-by-row
training.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from alfworld_sft.counts import counted, noun_for
from alfworld_sft.dataset.read import Columns, TrainingRow, dataset_file, read_rows, refuse_duplicates
from alfworld_sft.dataset.trajectories import TrajectoryKeys
from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.models.loss_mask import TokenKind
from alfworld_sft.train.data.fold import Chain, Part, TurnWeights, add_to_chains, graft_chains
from alfworld_sft.train.data.load_report import LoadReport
from alfworld_sft.train.data.next_state import NextStates
from alfworld_sft.train.data.options import SampleOptions
from alfworld_sft.train.data.sample import Sample
from alfworld_sft.train.data.trajectory import trajectory_samples
from alfworld_sft.train.data.weigh import make_sample, name_row
from alfworld_sft.train.log import CONSOLE_INTERVAL_S
from alfworld_sft.types import Message

logger = logging.getLogger(__name__)

FILE_NAMES = {"data.train_files": "train.parquet", "data.val_files": "val.parquet"}


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

    Raises DatasetError for anything unreadable (see `dataset.read`) or named twice, and for a sequence that is too
    long if `truncation` is error.
    """
    paths = [dataset_file(file, FILE_NAMES.get(option, "train.parquet"), option) for file in files]
    refuse_duplicates(paths, option)
    rows = read_rows(paths, columns, option)
    report = LoadReport()
    samples = _samples_of_rows(rows, encoder, options, report, single=not columns.multiturn)
    return LoadedSamples(list(_log_progress(samples, report, option)), report)


def beyond_context(samples: Sequence[Sample], context: int) -> str | None:
    """Return what is wrong with sequences that a model cannot read, since it has no positions for them; else None."""
    lengths = [sample.longest for sample in samples]
    longer = sum(length > context for length in lengths)
    if not longer:
        return None
    return (
        f"{longer} of {counted(len(samples), 'sequence')} {noun_for(longer, 'is', 'are')} longer than the model's"
        f" context of {context} tokens, up to {max(lengths)}; set data.max_length={context}"
    )


def more_rows_than_a_step(samples: Sequence[Sample], train_batch_size: int) -> str | None:
    """Return that episodes have more rows than an optimizer step, which cannot divide them; None if none has."""
    longer = sum(sample.rows > train_batch_size for sample in samples)
    if not longer:
        return None
    most = max(sample.rows for sample in samples)
    return (
        f"{longer} of {counted(len(samples), 'sequence')} {noun_for(longer, 'stands', 'stand')} for more than"
        f" data.train_batch_size={train_batch_size} rows, up to {most}: a step takes each whole, so an epoch has fewer"
        " steps"
    )


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
    key_of = TrajectoryKeys()
    next_states = NextStates()
    for row in rows:
        report.add_row(row)
        chains: list[Chain] = []
        if row.messages:
            chains = trajectories.setdefault(key_of(row), [])
            add_to_chains(chains, row.messages, Part(row.place, len(row.messages), row.turns, row.untrained))
        if options.next_state_rows:
            next_states.add(row, chains)
        if single:
            messages = (*row.prompt, Message("assistant", row.response))
            with name_row(row.place):
                encoded = encoder.encode_reply(messages)
            made = make_sample(encoded, _single_turn_weights(row), options, 1, row.place)
            yield from report.record(made, 1, len(encoded))
    if not single:
        for of_one in map(graft_chains, trajectories.values()):
            report.branches += len(of_one) - 1
            for chain in of_one:
                yield from trajectory_samples(chain, encoder, options, report)
    if options.next_state_rows:
        yield from _next_state_samples(next_states, encoder, options, report)


_ONCE = TurnWeights((1.0,), (1.0,))


def _single_turn_weights(row: TrainingRow) -> TurnWeights:
    """Return the weights of a single-turn row: replies in the prompt are context, and possibly the response too."""
    asked = (0.0,) * sum(message.role == "assistant" for message in row.prompt)
    return TurnWeights((*asked, float(row.response_trained)), (*asked, 1.0))


def _next_state_samples(
    next_states: NextStates, encoder: ChatEncoder, options: SampleOptions, report: LoadReport
) -> Iterator[Sample]:
    """Yield the samples that ask what the game says after an action, `next_state_rows` of them per action row.

    Their answers weigh as much as other replies: `prediction_weight` is that of predictions within replies.
    """
    asked = replace(options, prediction_weight=1.0)
    chosen = next_states.choose(options.next_state_rows, options.seed)
    report.next_state_missing = round(options.next_state_rows * next_states.actions) - len(chosen)
    for one in chosen:
        with name_row(one.place):
            encoded = encoder.encode_pair(one.question, one.answer)
        told = [TokenKind.PREDICTION if t else kind for t, kind in zip(encoded.mask, encoded.kind, strict=True)]
        encoded = replace(encoded, kind=told)
        report.next_state += 1
        name = f"{one.place}, {one.name}"
        made = make_sample(encoded, _ONCE, asked, 1, name)
        yield from report.record(made, 1, len(encoded), is_next_state=True)
