"""How are the keys and values of an episode's last turn kept, and how do several episodes share a batch?

Only a plain cache can be cut and joined: a `DynamicCache` with all tokens in every layer. Sliding windows and recurrent
states cannot, and are not kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

Layer: TypeAlias = tuple[Tensor, Tensor]
"""Keys and values, each (tokens, heads, head width)."""

_SCALED_BY_LENGTH = {"dynamic", "longrope"}
_PASS = 256
"""The cost of one more forward pass, in tokens: below this a GPU waits for the weights, not for the tokens."""


@dataclass(frozen=True, slots=True)
class Past:
    """Tokens that a model has read, with their keys and values; no layers if there are no tokens."""

    ids: Sequence[int] = ()
    layers: Sequence[Layer] = ()

    def shared_with(self, prompt: Sequence[int]) -> Past:
        """Return the prefix shared with a prompt: never all of it, as its last token has yet to be processed."""
        most = min(len(self.ids), len(prompt) - 1)
        length = next((n for n in range(most) if self.ids[n] != prompt[n]), most)
        return Past(prompt[:length], [(keys[:length], values[:length]) for keys, values in self.layers if length])


NO_PAST = Past()


def may_be_kept(model: Any) -> bool:
    """Return whether a token's keys stay the same in a longer prompt: some rotary embeddings rescale them."""
    rope = getattr(model.config.get_text_config(decoder=True), "rope_parameters", None) or {}
    return rope.get("rope_type") not in _SCALED_BY_LENGTH


def is_plain(cache: Any) -> bool:
    """Return whether a cache keeps all tokens in every layer, and nothing else."""
    return type(cache) is DynamicCache and all(type(layer) is DynamicLayer for layer in cache.layers)


def past_of(cache: Any, row: int, mask: Tensor, ids: Sequence[int]) -> Past:
    """Return a copy of one row of a plain cache, without padding; mask: (batch, tokens in the cache)."""
    kept = mask[row].nonzero()[:, 0]
    layers = [
        (layer.keys[row].transpose(0, 1)[kept], layer.values[row].transpose(0, 1)[kept]) for layer in cache.layers
    ]
    return Past(ids, layers)


def joined(pasts: Sequence[Past]) -> DynamicCache | None:
    """Return a batch's cache, each row padded on the left; None if no row has a past."""
    some = next((past for past in pasts if past.ids), None)
    if some is None:
        return None
    nothing = [(keys[:0], values[:0]) for keys, values in some.layers]
    rows = [past.layers or nothing for past in pasts]
    return DynamicCache([tuple(map(_pad, zip(*layer, strict=True))) for layer in zip(*rows, strict=True)])


def _pad(rows: Iterable[Tensor]) -> Tensor:
    """Return (batch, heads, tokens, head width) of rows that are (tokens, heads, head width)."""
    return pad_sequence(list(rows), batch_first=True, padding_side="left").transpose(1, 2)


def side_by_side(
    pasts: Sequence[Past], prompts: Sequence[Sequence[int]], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return the unread tokens of the prompts, (batch, new), and the batch's mask, (batch, past + new).

    A row is laid out as padding, past, padding, new tokens.
    """
    ids, mask = lined_up([prompt[len(past.ids) :] for past, prompt in zip(pasts, prompts, strict=True)], device)
    _, read = lined_up([past.ids for past in pasts], device)
    return ids, torch.cat((read, mask), dim=1)


def lined_up(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return rows of tokens padded on the left, and their mask: both (batch, longest row)."""
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows], dtype=torch.long)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], dtype=torch.long)
    return ids.to(device), mask.to(device)


def positions_in(mask: Tensor, new: int) -> Tensor:
    """Return the positions of the last `new` tokens, (batch, new); padding does not count."""
    return (mask.cumsum(1) - 1).clamp(min=0)[:, -new:]


def of_like_length(lengths: Sequence[int]) -> list[list[int]]:
    """Group rows, longest first, so that padding costs less than the passes it saves."""

    def split(rows: list[int]) -> list[list[int]]:
        costs = [cut * lengths[rows[0]] + (len(rows) - cut) * lengths[rows[cut]] for cut in range(1, len(rows))]
        if not costs or min(costs) + _PASS >= len(rows) * lengths[rows[0]]:
            return [rows]
        cut = costs.index(min(costs)) + 1
        return split(rows[:cut]) + split(rows[cut:])

    return split(sorted(range(len(lengths)), key=lambda row: -lengths[row]))
