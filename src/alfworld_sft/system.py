"""Which systems does the package run on? Linux and macOS: runs are locked and their processes ended the POSIX way."""

from __future__ import annotations

import platform

from alfworld_sft.errors import UserError
from alfworld_sft.locks import HAS_LOCKS


def check_system() -> None:
    """Raise UserError on a system without POSIX file locks."""
    if not HAS_LOCKS:
        system = platform.system() or "this system"
        way_out = "; on Windows, use WSL (the Windows Subsystem for Linux)" if system == "Windows" else ""
        raise UserError(f"alfworld-sft runs on Linux and macOS, not on {system}{way_out}")
