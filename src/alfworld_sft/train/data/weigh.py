"""Which tokens of a sequence are kept, and with which weights?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from alfworld_sft.errors import DatasetError
from alfworld_sft.models.loss_mask import Encoded, TokenKind
from alfworld_sft.train.data.fold import TurnWeights
from alfworld_sft.train.data.options import SampleOptions
from alfworld_sft.train.data.sample import Sample


def make_sample(encoded: Encoded, weights: TurnWeights, options: SampleOptions, rows: int, place: str) -> Sample | None:
    """Return a sample of one sequence, cut to fit; None if no trained token remains."""
    sample = weigh(encoded, weights, options, rows, place)
    return sample if sample.weight.any() else None


def weigh(
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


@contextmanager
def name_row(place: str) -> Iterator[None]:
    """Add the row to errors raised by a chat template."""
    try:
        yield
    except DatasetError as error:
        raise DatasetError(f"{place}: {error}") from None
