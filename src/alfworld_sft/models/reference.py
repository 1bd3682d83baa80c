"""How a model is referred to: a folder on this machine, or a name on the hub."""

from __future__ import annotations

import os
from pathlib import Path


def is_path(model: str) -> bool:
    """Tell a folder on this machine from a model's name on the hub, which has one slash and no dot before it."""
    return model.startswith((".", "/", "~")) or model.count("/") > 1 or Path(model).is_dir()


def fetched_folder(model: str) -> Path | None:
    """Return where the hub's client caches a model of this name on this machine, or None; without network access."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub")).expanduser()
    kept = cache / f"models--{model.replace('/', '--')}"
    try:
        folder = kept / "snapshots" / (kept / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return folder if folder.is_dir() else None
