"""Which kernels multiply matrices on this CPU, and does it multiply bfloat16 faster?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path

import torch

CPU_INFO = Path("/proc/cpuinfo")
WIDE = 512
"""Width of a model from which products are most of the work, even in small batches."""


@cache
def mkl_is_slow() -> bool:
    """Return whether oneDNN multiplies float32 matrices faster than MKL, PyTorch's choice: on AMD with AVX-512.

    MKL uses half of the vectors' width there (measured on an EPYC: 100 GFLOP/s a core, oneDNN 230). With AMX, oneDNN
    would round the factors to bfloat16.
    """
    if not torch.backends.mkldnn.is_available() or torch.cpu._is_amx_tile_supported():
        return False
    try:
        vendor = CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "AuthenticAMD" in vendor and bool(torch.cpu._is_avx512_supported())


def multiplies_bfloat16() -> bool:
    """Return whether this CPU has instructions for bfloat16 products (measured: 4.5 times MKL's float32 on an EPYC)."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


@contextmanager
def fast_products(device: torch.device) -> Iterator[None]:
    """Let oneDNN multiply float32 matrices if that is faster on this device: such a CPU computes "medium" in float32.

    On a GPU, whose products would lose digits, nothing changes.
    """
    with _precision("medium" if device.type == "cpu" and mkl_is_slow() else None):
        yield


def products_of(width: int, device: torch.device) -> AbstractContextManager[None]:
    """Return what the passes of a model so wide should run in: `fast_products`, if products are most of their work."""
    return fast_products(device) if width >= WIDE else nullcontext()


@contextmanager
def small_products() -> Iterator[None]:
    """Let MKL multiply also within `fast_products`: a few rows at a time, as in attention from one token, it is faster.

    Measured on an EPYC, 32 conversations of 3,000 tokens: 14 ms a layer, oneDNN 22.
    """
    with _precision("highest" if mkl_is_slow() else None):
        yield


@contextmanager
def _precision(name: str | None) -> Iterator[None]:
    """Set PyTorch's precision of float32 products for the block; None leaves it as it is."""
    if name is None:
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
