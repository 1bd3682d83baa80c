"""How does attention work over packed rows?"""

from __future__ import annotations

import inspect
import logging
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from alfworld_sft.models.load import ModelError, first_line, load_config

logger = logging.getLogger(__name__)

PACKED = "alfworld_packed"
"""The name of our attention function in transformers' registry."""

PACKED_FAMILIES = frozenset({"llama", "mistral", "olmo2", "phi3", "qwen2", "qwen3", "smollm3", "granite"})
"""Architectures with plain attention (causal, without sinks or soft caps) and plain RMS norms."""


@dataclass(frozen=True, slots=True)
class Segments:
    """Boundaries of a micro-batch's sequences, for attention that stays within each one.

    `cu_seqlens` (sequences + 1,) is int32 and on the device. `longest` is rounded up, so that it has few distinct
    values.
    """

    lengths: tuple[int, ...]
    cu_seqlens: Tensor
    longest: int

    @classmethod
    def of(cls, cu_seqlens: Tensor, device: torch.device) -> Segments:
        """Build from the boundaries of the sequences, (sequences + 1,)."""
        lengths = tuple(cu_seqlens.diff().tolist())
        return cls(lengths, cu_seqlens.to(device=device, dtype=torch.int32), 1 << (max(lengths) - 1).bit_length())


def choose_attention(name: str, wish: Literal["auto", "packed", "sdpa"], max_length: int) -> str:
    """Return the attention to load a model with: ours, if the architecture's attention is plain."""
    config = load_config(name)
    layer_types = getattr(config, "layer_types", None)  # if missing, a window applies to every layer
    windowed = layer_types is None or "sliding_attention" in layer_types
    window = getattr(config, "sliding_window", None) if windowed else None
    plain = config.model_type in PACKED_FAMILIES and (window is None or window >= max_length)
    plain = plain and not getattr(config, "attention_dropout", 0)
    if wish == "packed" and not plain:
        raise ModelError(
            f"model.attention=packed: not for {config.model_type} as its config has it; write model.attention=sdpa"
        )
    return PACKED if plain and wish != "sdpa" else "sdpa"


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    segments: Segments | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend causally within each sequence of a micro-batch.

    `query` is (1, heads, tokens, d), `key` and `value` (1, kv_heads, tokens, d); returns (1, tokens, heads, d).
    """
    if segments is None or dropout:
        raise RuntimeError("packed attention needs to know the sequences, and has no dropout")
    query, key = query.to(value.dtype), key.to(value.dtype)  # rotary embedding leaves them in float32 under autocast
    if query.is_cuda and varlen_works(query.device):
        q, k, v = (x[0].transpose(0, 1).contiguous() for x in (query, key, value))  # (tokens, heads, d)
        return _varlen(q, k, v, segments, scaling)[None], None
    return _attend_each(query, key, value, segments, scaling), None


def _attend_each(query: Tensor, key: Tensor, value: Tensor, segments: Segments, scaling: float | None) -> Tensor:
    """Attend to one sequence after another: exact, and a sequence's result does not depend on its neighbours."""
    gqa = query.shape[1] != key.shape[1]
    lengths = list(segments.lengths)
    parts = zip(*(torch.split(x, lengths, dim=2) for x in (query, key, value)), strict=True)
    attend = nn.functional.scaled_dot_product_attention
    outs = [attend(q, k, v, is_causal=True, scale=scaling, enable_gqa=gqa) for q, k, v in parts]
    return torch.cat(outs, dim=2).transpose(1, 2)


def _varlen(q: Tensor, k: Tensor, v: Tensor, segments: Segments, scaling: float | None) -> Tensor:
    """Call PyTorch's variable-length kernel with its version's arguments for causal attention."""
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415 - absent from older versions

    out: Any = varlen_attn(
        q, k, v, segments.cu_seqlens, segments.cu_seqlens, segments.longest, segments.longest,
        **_varlen_options(q.shape[1] != k.shape[1], scaling),
    )  # fmt: skip
    return cast("Tensor", out)


def _varlen_options(gqa: bool, scaling: float | None) -> dict[str, Any]:
    options: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in _VARLEN_NAMES else {"is_causal": True}
    if "scale" in _VARLEN_NAMES:
        options["scale"] = scaling
    if "enable_gqa" in _VARLEN_NAMES:
        options["enable_gqa"] = gqa
    return options


def _varlen_names() -> frozenset[str]:
    try:
        from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415
    except ImportError:
        return frozenset()
    return frozenset(inspect.signature(varlen_attn).parameters)


_VARLEN_NAMES = _varlen_names()

_varlen_verdict: dict[int, bool] = {}


def varlen_works(device: torch.device) -> bool:
    """Compare the kernel with plain attention, once per device; a kernel that differs is not used."""
    index = device.index or 0
    if index not in _varlen_verdict:
        _varlen_verdict[index] = bool(_VARLEN_NAMES) and _varlen_agrees(device)
        if not _varlen_verdict[index]:
            logger.warning(
                "the variable-length attention kernel does not work here: sequences are processed one at a time"
            )
    return _varlen_verdict[index]


@torch.no_grad()
def _varlen_agrees(device: torch.device) -> bool:
    segments = Segments.of(torch.tensor([0, 5, 133, 200]), device)
    q, k, v = (torch.randn(1, heads, 200, 64, device=device, dtype=torch.bfloat16) for heads in (4, 2, 2))
    tokens_first = [x[0].transpose(0, 1).contiguous() for x in (q, k, v)]
    try:
        kernel = _varlen(tokens_first[0], tokens_first[1], tokens_first[2], segments, 0.125)
    except (RuntimeError, TypeError, ValueError) as error:  # a GPU or a version without the kernel
        logger.info("variable-length attention: %s", first_line(error))
        return False
    plain = _attend_each(q, k, v, segments, 0.125)[0]
    return bool((kernel - plain).abs().max() < 0.03)  # two bfloat16 kernels over values of size 1
