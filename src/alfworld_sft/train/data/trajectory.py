"""How do the rows of one trajectory become samples? Folded into one conversation, or reply by reply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.models.loss_mask import Encoded
from alfworld_sft.train.data.fold import Chain, Part, TurnWeights, fold, weights_by_row
from alfworld_sft.train.data.load_report import LoadReport
from alfworld_sft.train.data.options import SampleOptions
from alfworld_sft.train.data.sample import Leaf, Sample, join
from alfworld_sft.train.data.weigh import make_sample, name_row, weigh


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

    def encoded(self, row: int) -> Encoded:
        """Return a row in tokens."""
        return self.branches.get(row) or _take_prefix(self.full, self.parts[row])


def trajectory_samples(
    chain: Chain, encoder: ChatEncoder, options: SampleOptions, report: LoadReport
) -> Iterator[Sample]:
    """Yield the samples of a chain of rows: one, if all rows can be folded."""
    parts = chain.parts
    weights = weights_by_row(parts, options.weighting)
    report.begun_by_assistant += chain.messages[0].role == "assistant"
    with name_row(parts[-1].place):
        full = encoder.encode_conversation(chain.messages)
    if not full.stable:
        yield from _samples_by_reply(chain, parts, weights, encoder, options, report)
        return
    branches: dict[int, Encoded] = {}
    for row, part in enumerate(parts):
        if part.branch is not None:
            with name_row(part.place):
                branches[row] = encoder.encode_conversation((*chain.messages[: part.messages - 1], part.branch))
    rows = _EncodedRows(parts, weights, full, branches)
    for group in _group_rows(rows, options):
        encoded = rows.encoded(group[-1])
        sample = _fold_rows(rows, group, encoded, options)
        if sample is not None and sample.truncated:
            sample = replace(sample, rows=sum(_is_trained(rows, row, options) for row in group))
            report.dropped_rows += len(group) - sample.rows
        yield from report.record(sample, len(group), len(encoded))


def _is_trained(rows: _EncodedRows, row: int, options: SampleOptions) -> bool:
    """Return whether a row has weight within `max_length` tokens."""
    return bool(weigh(rows.encoded(row), rows.weights[row], options, 1, rows.parts[row].place).weight.any())


def _fold_rows(rows: _EncodedRows, group: Sequence[int], last: Encoded, options: SampleOptions) -> Sample | None:
    """Return the sample of some rows of a chain, of which `last` is the longest, with a branch for each of theirs."""
    place = rows.parts[group[-1]].place
    branching = [row for row in group if row in rows.branches]
    if not branching or len(group) == 1:
        return make_sample(last, fold(rows.weights[row] for row in group), options, len(group), place)
    turns = (0.0,) * len(rows.full.ends)
    along = [rows.weights[row] for row in group if row not in rows.branches]
    trunk = weigh(rows.full, fold([TurnWeights(turns, turns), *along]), options, len(group), place, keep_all=True)
    leaves = [_leaf(rows.branches[row], rows.weights[row], options, rows.parts[row]) for row in branching]
    truncated = any(rows.length(row) > options.max_length for row in group)
    joined = replace(join(trunk, leaves), truncated=truncated)
    return joined if joined.weight.any() else None


def _leaf(encoded: Encoded, weights: TurnWeights, options: SampleOptions, part: Part) -> Leaf:
    """Return a branch's row with its weights; its reply is never taken from the trunk, even where it begins alike."""
    tokens = enumerate(zip(encoded.turn, encoded.mask, strict=True))
    departs_at = next((token for token, (turn, said) in tokens if said and turn == part.turns - 1), len(encoded))
    return Leaf(weigh(encoded, weights, options, 1, part.place), departs_at)


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
        with name_row(place):
            encoded = encoder.encode_reply(messages)
        made = make_sample(encoded, _single_reply_weights(turn, weight), options, 1, place)
        yield from report.record(made, 1, len(encoded))


def _without_reply(weights: TurnWeights) -> TurnWeights:
    """Return the weights of a row for all but its last reply."""
    return TurnWeights((*weights.trained[:-1], 0.0), weights.held)


def _single_reply_weights(turn: int, weight: float) -> TurnWeights:
    """Return the weights of a conversation with only one trained reply."""
    weights = (*[0.0] * turn, weight)
    return TurnWeights(weights, weights)


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
