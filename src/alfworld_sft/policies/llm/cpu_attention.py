"""How does a batch of kept conversations attend on a CPU? Every key is read once, as it lies, and no padding is.

Where there is a mask and more than one new token, transformers repeats keys and values for each of the heads that share
them: measured on an EPYC with 32 conversations of 3,000 tokens and 4 new ones, 220 ms a layer, and 22 here.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from alfworld_sft.models.products import small_products

GROUPED = "alfworld_sft_grouped"
_FEW = 64
"""Queries of a row below which their products are small."""
_CALL = 20_000
"""Padding of a row, in numbers of its keys, whose reading takes as long as a call for this row alone."""


def read_keys_once(model: Any) -> Any:
    """Let a model on the CPU that has PyTorch's attention attend in groups, and return it; leave others alone."""
    if model.device.type == "cpu" and model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(GROUPED)
    return model


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers does, with the queries of heads that share a key side by side.

    `query` is (batch, heads, new, d), `key` and `value` (batch, kv_heads, tokens, d), the mask (batch, 1, new, tokens)
    and true where a query sees a token; returns (batch, new, heads, d).
    """
    batch, heads, new, width = query.shape
    groups = heads // key.shape[1]
    unmasked = attention_mask is None and new == 1
    if (not unmasked and not _is_shared(attention_mask)) or options.get("position_bias") is not None:
        out: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return out
    query = query.reshape(batch, key.shape[1], groups * new, width)
    starts = [0] * batch
    if attention_mask is not None:
        starts = attention_mask[:, 0, -1].int().argmax(-1).tolist()  # the last new token is never padding
        attention_mask = attention_mask.repeat(1, 1, groups, 1)
    with small_products() if query.shape[2] < _FEW else nullcontext():
        if sum(starts) * key.shape[1] * width <= _CALL * batch:
            attended = scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, scale=scaling)
        else:
            rows = [
                scaled_dot_product_attention(
                    query[row : row + 1],
                    key[row : row + 1, :, start:],
                    value[row : row + 1, :, start:],
                    attn_mask=None if attention_mask is None else attention_mask[row : row + 1, :, :, start:],
                    scale=scaling,
                )
                for row, start in enumerate(starts)
            ]
            attended = torch.cat(rows)
    return attended.reshape(batch, heads, new, -1).transpose(1, 2).contiguous(), None


def _is_shared(mask: Tensor | None) -> bool:
    """Return whether a mask says which tokens are seen, the same for all heads."""
    return mask is not None and mask.dtype == torch.bool and mask.shape[1] == 1


AttentionInterface.register(GROUPED, grouped_attention)
AttentionMaskInterface.register(GROUPED, sdpa_mask)
