"""Does this system have what the program needs, and how many cores may it use?

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
