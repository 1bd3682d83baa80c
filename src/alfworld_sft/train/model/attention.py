"""How does attention work over packed rows?"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor, nn

from alfworld_sft.models.families import attends_plainly
from alfworld_sft.models.load import ModelError, first_line, load_config
from alfworld_sft.models.products import WIDE, fast_products, mkl_is_slow
from alfworld_sft.train.choices import AttentionChoice

logger = logging.getLogger(__name__)

_Part = tuple[Tensor, Tensor, Tensor]

PACKED = "alfworld_packed"
"""The name of our attention function in transformers' registry."""


@dataclass(frozen=True, slots=True)
class Branches:
    """All branches of one trunk.

    `number` is that of the sequence which they make together, `trunk` the trunk's. `mask` (branch tokens, prefix +
    branch tokens) is true where a branch's token sees one of the trunk's first `prefix` tokens, or one of its own
    branch.
    """

    number: int
    trunk: int
    prefix: int
    mask: Tensor


@dataclass(frozen=True, slots=True)
class Segments:
    """Boundaries of a micro-batch's sequences, for attention that stays within each one.

    `cu_seqlens` (sequences + 1,) is int32 and on the device. `longest` is rounded up, so that it has few distinct
    values. The branches of a trunk are one sequence here.
    """

    lengths: tuple[int, ...]
    cu_seqlens: Tensor
    longest: int
    branches: tuple[Branches, ...] = ()

    @classmethod
    def of(cls, cu_seqlens: Tensor, device: torch.device, prefixes: Tensor | None = None) -> Segments:
        """Build from the boundaries of the sequences, (sequences + 1,), and what each continues: `Packed.prefixes`."""
        lengths = cu_seqlens.diff().tolist()
        branches: list[Branches] = []
        if prefixes is not None:
            lengths, branches = _gather_branches(lengths, prefixes.tolist(), device)
            cu_seqlens = torch.tensor([0, *lengths]).cumsum(0)
        longest = 1 << (max(lengths) - 1).bit_length()
        return cls(tuple(lengths), cu_seqlens.to(device=device, dtype=torch.int32), longest, tuple(branches))

    def and_one_of(self, length: int) -> Segments:
        """Return these and another sequence, of so many tokens."""
        ends = nn.functional.pad(self.cu_seqlens, (0, 1), value=sum(self.lengths) + length)
        return replace(self, lengths=(*self.lengths, length), cu_seqlens=ends, longest=max(self.longest, length))


def _gather_branches(
    lengths: Sequence[int], prefixes: Sequence[Sequence[int]], device: torch.device
) -> tuple[list[int], list[Branches]]:
    """Return the lengths with the branches of each trunk as one sequence, and these branches."""
    gathered: list[int] = []
    branches: list[Branches] = []
    trunks: dict[int, int] = {}
    numbered = zip(lengths, prefixes, strict=True)
    for (begin, branching), group in groupby(numbered, key=lambda one: (one[1][0], one[1][1] > 0)):
        sequences = [(length, prefix) for length, (_, prefix) in group]
        trunk = trunks.setdefault(begin, len(gathered))
        if branching:
            longest = max(prefix for _, prefix in sequences)
            branches.append(Branches(len(gathered), trunk, longest, _mask(sequences).to(device)))
            gathered.append(sum(length for length, _ in sequences))
        else:
            gathered += [length for length, _ in sequences]
    return gathered, branches


def _mask(branches: Sequence[tuple[int, int]]) -> Tensor:
    """Return which tokens branches of a (length, prefix) see: (branch tokens, longest prefix + branch tokens)."""
    longest = max(prefix for _, prefix in branches)
    own = torch.block_diag(*(torch.ones(length, length).tril() for length, _ in branches)).bool()
    before = torch.cat([(torch.arange(longest) < prefix).expand(length, longest) for length, prefix in branches])
    return torch.cat([before, own], dim=1)


def choose_attention(name: str, wish: AttentionChoice, longest: int | None) -> str:
    """Return the attention to load a model with: ours, if the architecture's is plain for rows of `longest` tokens.

    None stands for rows as long as the model's context.
    """
    config = load_config(name)
    plain = attends_plainly(config, longest) and not getattr(config, "attention_dropout", 0)
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
    if value.device.type == "cpu" and query.shape[1] * query.shape[3] >= WIDE and mkl_is_slow():
        return _attend_in_float32(query, key, value, segments, scaling), None
    query, key = query.to(value.dtype), key.to(value.dtype)  # rotary embedding leaves them in float32 under autocast
    if query.is_cuda and varlen_works(query.device):
        q, k, v = (x[0].transpose(0, 1).contiguous() for x in (query, key, value))  # (tokens, heads, d)
        out = _varlen(q, k, v, segments, scaling)[None]
        return _with_branches(out, query, key, value, segments, scaling) if segments.branches else out, None
    return _attend_each(query, key, value, segments, scaling), None


def _attend_in_float32(query: Tensor, key: Tensor, value: Tensor, segments: Segments, scaling: float | None) -> Tensor:
    """Attend in float32 and by oneDNN: PyTorch's attention multiplies bfloat16 by MKL, too.

    Measured on an EPYC, 9 heads and 3,000 tokens, forward and backward: 262 ms a layer, if the backward pass is in
    `fast_products`, too; 341 in bfloat16, and 468 in float32 by MKL.
    """
    with torch.autocast("cpu", enabled=False), fast_products(query.device):
        return _attend_each(query.float(), key.float(), value.float(), segments, scaling).to(value.dtype)


def _attend_each(query: Tensor, key: Tensor, value: Tensor, segments: Segments, scaling: float | None) -> Tensor:
    """Attend to one sequence after another: exact, and a sequence's result does not depend on its neighbours."""
    gqa = query.shape[1] != key.shape[1]
    branches = {one.number: one for one in segments.branches}
    attend = nn.functional.scaled_dot_product_attention
    parts = _split(segments, query, key, value)
    outs = [
        _attend_branches(branches[number], parts[branches[number].trunk], part, scaling)
        if number in branches
        else attend(*part, is_causal=True, scale=scaling, enable_gqa=gqa)
        for number, part in enumerate(parts)
    ]
    return torch.cat(outs, dim=2).transpose(1, 2)


@torch.compiler.disable
def _with_branches(
    out: Tensor, query: Tensor, key: Tensor, value: Tensor, segments: Segments, scaling: float | None
) -> Tensor:
    """Replace what a kernel without branches gives for them; (1, tokens, heads, d)."""
    parts = _split(segments, query, key, value)
    outs = list(torch.split(out, list(segments.lengths), dim=1))
    for one in segments.branches:
        attended = _attend_branches(one, parts[one.trunk], parts[one.number], scaling)
        outs[one.number] = attended.transpose(1, 2)
    return torch.cat(outs, dim=1)


def _attend_branches(branches: Branches, trunk: _Part, own: _Part, scaling: float | None) -> Tensor:
    """Attend from the branches of a trunk to it and to themselves; returns (1, heads, branch tokens, d)."""
    (_, trunk_key, trunk_value), (query, own_key, own_value) = trunk, own
    key = torch.cat([trunk_key[:, :, : branches.prefix], own_key], dim=2)
    value = torch.cat([trunk_value[:, :, : branches.prefix], own_value], dim=2)
    return nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=branches.mask, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
    )


def _split(segments: Segments, query: Tensor, key: Tensor, value: Tensor) -> list[_Part]:
    """Return query, key and value of each sequence."""
    lengths = list(segments.lengths)
    return list(zip(*(torch.split(x, lengths, dim=2) for x in (query, key, value)), strict=True))


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
