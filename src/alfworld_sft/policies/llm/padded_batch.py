"""How do episodes share a batch, padded on the left? Each begins with a copy of what was read of it.

Only a plain cache can be cut and joined: a `DynamicCache` with all tokens in every layer. Sliding windows and recurrent
states cannot, and are not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

Layer: TypeAlias = tuple[Tensor, Tensor]
"""Keys and values, each (tokens, heads, head width)."""
Forward: TypeAlias = Callable[[Tensor, Tensor, Tensor, Any], Any]

_SCALED_BY_LENGTH = {"dynamic", "longrope"}
_ROOM = 32
"""Tokens that a cache has room for when it has to grow."""
_PASS = 256
"""The cost of one more forward pass, in tokens: below this a GPU waits for the weights, not for the tokens."""


@dataclass(frozen=True, slots=True)
class Past:
    """Tokens that a model has read, with their keys and values; no layers if there are no tokens."""

    ids: Sequence[int] = ()
    layers: Sequence[Layer] = ()

    def shared_with(self, prompt: Sequence[int]) -> Past:
        """Return the prefix shared with a prompt: never all of it, as its last token has yet to be processed."""
        length = shared_length(self.ids, prompt)
        return Past(prompt[:length], [(keys[:length], values[:length]) for keys, values in self.layers if length])


def shared_length(known: Sequence[int], prompt: Sequence[int]) -> int:
    """Return how many tokens a prompt begins with that are known, its last one apart."""
    most = min(len(known), len(prompt) - 1)
    return next((n for n in range(most) if known[n] != prompt[n]), most)


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """A plain layer with spare room, so that a new token is written beside those before it instead of copying them."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        """Hold keys and values that were computed, each (batch, heads, tokens, head width)."""
        super().__init__()
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._roomy_keys, self._roomy_values = self.keys, self.values = keys, values

    @classmethod
    def of_rows(cls, rows: Sequence[Layer]) -> RoomyLayer:
        """Join rows of keys and values, padded on the left."""
        longest = max(len(keys) for keys, _ in rows)
        keys, values = (_padded(each, longest) for each in zip(*rows, strict=True))
        layer = cls(keys[:, :, :longest], values[:, :, :longest])
        layer._roomy_keys, layer._roomy_values = keys, values
        return layer

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Add tokens, and return the keys and values of all."""
        held, count = self.keys.shape[-2], self.keys.shape[-2] + key_states.shape[-2]
        if count > self._roomy_keys.shape[-2]:
            self._roomy_keys, self._roomy_values = _with_room(self.keys, count), _with_room(self.values, count)
        self._roomy_keys[:, :, held:count] = key_states
        self._roomy_values[:, :, held:count] = value_states
        self.keys, self.values = self._roomy_keys[:, :, :count], self._roomy_values[:, :, :count]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows of the batch only."""
        count = self.keys.shape[-2]
        self._roomy_keys, self._roomy_values = self._roomy_keys[indices], self._roomy_values[indices]
        self.keys, self.values = self._roomy_keys[:, :, :count], self._roomy_values[:, :, :count]


def _with_room(held: Tensor, count: int) -> Tensor:
    """Return a copy of keys or values with room for `count` tokens and some more."""
    batch, heads, tokens, width = held.shape
    roomy = held.new_empty((batch, heads, count + _ROOM, width))
    roomy[:, :, :tokens] = held
    return roomy


def _padded(rows: Sequence[Tensor], longest: int) -> Tensor:
    """Return rows of (tokens, heads, width) as (batch, heads, longest and some room, width)."""
    _, heads, width = rows[0].shape
    roomy = rows[0].new_zeros((len(rows), heads, longest + _ROOM, width))
    for place, row in enumerate(rows):
        roomy[place, :, longest - len(row) : longest] = row.transpose(0, 1)
    return roomy


def may_be_kept(model: Any) -> bool:
    """Return whether a token's keys stay the same in a longer prompt: some rotary embeddings rescale them."""
    rope = getattr(model.config.get_text_config(decoder=True), "rope_parameters", None) or {}
    return rope.get("rope_type") not in _SCALED_BY_LENGTH


def is_plain(cache: Any) -> bool:
    """Return whether a cache keeps all tokens in every layer, and nothing else."""
    return type(cache) is DynamicCache and all(type(layer) in (DynamicLayer, RoomyLayer) for layer in cache.layers)


def give_room(cache: DynamicCache) -> None:
    """Let the layers of a plain cache grow without copying what they hold."""
    cache.layers = [
        layer if isinstance(layer, RoomyLayer) else RoomyLayer(layer.keys, layer.values) for layer in cache.layers
    ]


def past_of(cache: Any, row: int, mask: Tensor, ids: Sequence[int]) -> Past:
    """Return a copy of one row of a plain cache, without padding; mask: (batch, tokens in the cache)."""
    kept = mask[row].nonzero()[:, 0]
    layers = [
        (layer.keys[row].transpose(0, 1)[kept], layer.values[row].transpose(0, 1)[kept]) for layer in cache.layers
    ]
    return Past(ids, layers)


class PaddedBatch:
    """Conversations that a model reads on as one left-padded batch.

    `forward` gets new tokens and their positions, (batch, new), the mask, (batch, past + new), and the cache; it
    returns the model's output with logits for the last token only.
    """

    def __init__(self, forward: Forward, pasts: Sequence[Past], device: torch.device) -> None:
        self._forward, self._device = forward, device
        self._cache: Any = joined(pasts)
        _, self._mask = lined_up([past.ids for past in pasts], device)

    def read(self, unread: Sequence[Sequence[int]]) -> Tensor:
        """Read new tokens of each row, at least one; return logits (batch, vocabulary) after each row's last.

        A row is laid out as padding, past, padding, new tokens.
        """
        feed, new = lined_up(unread, self._device)
        self._mask = torch.cat((self._mask, new), dim=1)
        out = self._forward(feed, positions_in(self._mask, feed.shape[1]), self._mask, self._cache)
        self._cache = out.past_key_values
        if self.is_plain:
            give_room(self._cache)
        logits: Tensor = out.logits[:, -1]
        return logits

    @property
    def is_plain(self) -> bool:
        """Return whether what was read can be kept: false if the cache is not plain."""
        return is_plain(self._cache)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only."""
        kept = torch.tensor(rows, device=self._device)
        self._cache.batch_select_indices(kept)
        self._mask = self._mask[kept]

    def past(self, row: int, ids: Sequence[int]) -> Past:
        """Return a copy of what was read of a row, whose ids these are."""
        return past_of(self._cache, row, self._mask, ids)


def joined(pasts: Sequence[Past]) -> DynamicCache | None:
    """Return a batch's cache, each row padded on the left; None if no row has a past."""
    some = next((past for past in pasts if past.ids), None)
    if some is None:
        return None
    nothing = [(keys[:0], values[:0]) for keys, values in some.layers]
    rows = [past.layers or nothing for past in pasts]
    cache = DynamicCache()
    cache.layers = [RoomyLayer.of_rows(layer) for layer in zip(*rows, strict=True)]
    return cache


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
