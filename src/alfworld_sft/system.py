"""Does this system have what the program needs, and how many cores and how much memory may it use?

Runs are locked and their processes ended the POSIX way, as on Linux and macOS.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

from alfworld_sft.errors import UserError
from alfworld_sft.locks import HAS_LOCKS

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""What a container's processes may use of the CPU: microseconds of each period, and its length (cgroup v2)."""


def check_system() -> None:
    """Raise UserError on a system without POSIX file locks."""
    if not HAS_LOCKS:
        system = platform.system() or "this system"
        way_out = "; on Windows, use WSL (the Windows Subsystem for Linux)" if system == "Windows" else ""
        raise UserError(f"alfworld-sft runs on Linux and macOS, not on {system}{way_out}")


def usable_cores() -> int:
    """Return the number of cores that this process may use, within what its container allows."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CPU_QUOTA.read_text(encoding="ascii").split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no container, or "max"
        return cores


def available_memory() -> int | None:
    """Return the bytes of memory that may still be used: what the kernel has, within what the container allows.

    None where the system does not say.
    """
    found = [amount for amount in (_kernel_memory(), _container_memory()) if amount is not None]
    return min(found, default=None)


def _kernel_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _container_memory() -> int | None:
    control = Path("/sys/fs/cgroup")
    try:
        limit, used = ((control / name).read_text("utf-8").strip() for name in ("memory.max", "memory.current"))
        kinds = dict(line.split() for line in (control / "memory.stat").read_text("utf-8").splitlines())
    except (OSError, ValueError):
        return None
    cached = int(kinds.get("inactive_file", 0))  # the kernel gives it back when memory is short
    return int(limit) - max(0, int(used) - cached) if limit.isdigit() and used.isdigit() else None
