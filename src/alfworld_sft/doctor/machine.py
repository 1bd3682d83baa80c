"""Is the machine large enough? `look_at_machine` reads what it is, `judge_machine` says what that means."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from alfworld_sft.counts import counted, size_in_words
from alfworld_sft.doctor.line import Line, fine, fix, note
from alfworld_sft.system import available_memory, usable_cores

GIB = 2**30
LEAST_MEMORY = 2 * GIB
"""What collecting with the default concurrency needs, with room to spare."""
LEAST_DISK = 2 * GIB
"""A collection of all official games takes about 1 GiB, with every file."""
LEAST_FILES = 1024
"""Connections to a server and files of worker processes; the usual soft limit."""
FAST_BFLOAT16 = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16"}
"""Flags of a CPU that computes bfloat16 by itself."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What matters of a machine: sizes in bytes, None where the system does not say.

    `cpu_flags` are the kernel's names; `gpus` the cards that the driver lists; `torch` the version that is installed.
    `free_disk` is by folder.
    """

    python: str
    cores: int
    cpu_flags: frozenset[str]
    memory: int | None
    gpus: tuple[str, ...]
    torch: str | None
    free_disk: Mapping[Path, int] = field(default_factory=dict)
    open_files: int | None = None


def look_at_machine(*folders: Path) -> Machine:
    """Return what this machine is; the folders are those whose disks are looked at."""
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = None
    existing = {next(place for place in (folder, *folder.parents) if os.access(place, os.F_OK)) for folder in folders}
    import resource  # noqa: PLC0415 - it is missing on Windows, where commands still say what they need

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # runs raise the soft limit by themselves
    return Machine(
        python=f"{platform.python_version()} in {sys.prefix}",
        cores=usable_cores(),
        cpu_flags=_cpu_flags(),
        memory=available_memory(),
        gpus=_gpus(),
        torch=torch,
        free_disk={folder: shutil.disk_usage(folder).free for folder in sorted(existing)},
        open_files=None if hard == resource.RLIM_INFINITY else hard,
    )


def judge_machine(machine: Machine) -> Iterator[Line]:
    """Yield a line for Python, CPU, memory, GPU, each disk and the open files."""
    yield fine("Python", machine.python)
    yield _judge_cpu(machine)
    yield _judge_memory(machine)
    yield _judge_gpu(machine)
    for folder, free in machine.free_disk.items():
        found = f"{size_in_words(free)} free at {folder}"
        short = f"make room: a collection of all games needs {size_in_words(LEAST_DISK)}, or use --output-dir"
        yield fine("disk", found) if free >= LEAST_DISK else fix("disk", found, short)
    limit = machine.open_files
    if limit is not None and limit < LEAST_FILES:
        yield fix("open files", f"at most {limit}", f"raise the limit: ulimit -Hn {4 * LEAST_FILES}, as root if needed")
    else:
        yield fine("open files", "no limit" if limit is None else f"up to {limit}")


def _judge_cpu(machine: Machine) -> Line:
    fast = [name for flag, name in FAST_BFLOAT16.items() if flag in machine.cpu_flags]
    found = f"{counted(machine.cores, 'core')}, {' and '.join(fast) or 'no bfloat16 instructions'}"
    if fast or machine.gpus:
        return fine("CPU", found)
    return note("CPU", found, "if you train on it: model.dtype=float32, bfloat16 would be slow")


def _judge_memory(machine: Machine) -> Line:
    if machine.memory is None:
        return note("memory", "unknown", f"have {size_in_words(LEAST_MEMORY)} free")
    found = f"{size_in_words(machine.memory)} available"
    if machine.memory >= LEAST_MEMORY:
        return fine("memory", found)
    return fix("memory", found, f"free {size_in_words(LEAST_MEMORY)}, or play with runner.concurrency=8")


def _judge_gpu(machine: Machine) -> Line:
    if not machine.gpus:
        return note("GPU", "none", "collecting needs none; train a large model on a machine that has one")
    found = ", ".join(machine.gpus)
    if machine.torch and machine.torch.endswith("+cpu"):
        way_out = "pip uninstall torch; pip install torch (a build with CUDA, from pytorch.org)"
        return fix("GPU", f"{found}, but torch {machine.torch} is a CPU build", way_out)
    return fine("GPU", found)


def _cpu_flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return frozenset()
    return next((frozenset(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), frozenset())


def _gpus() -> tuple[str, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in told.splitlines() if line.strip())
