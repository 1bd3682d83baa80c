"""How is a model referred to? By a folder on this machine, or by a name on the hub."""

from __future__ import annotations

import os
from pathlib import Path


def is_path(model: str) -> bool:
    """Return whether this is a local path: a hub name has exactly one slash and does not start with a dot."""
    return model.startswith((".", "/", "~")) or model.count("/") > 1 or Path(model).is_dir()


def expand_home(model: str) -> str:
    """Return a model's name with `~/` as the home folder, which a shell leaves alone behind an equals sign."""
    return str(Path(model).expanduser()) if model.startswith("~/") else model


def unusable_path(model: str) -> str | None:
    """Return why a local path cannot be a model's folder, and the way out; None for a folder or a hub name."""
    path = Path(model)
    if path.suffix == ".gguf" and not path.exists():
        return "there is no such file"
    weights = [path] if path.suffix == ".gguf" else sorted(path.glob("*.gguf"))
    if weights and not any(path.glob("*config.json")):
        return (
            f"GGUF weights are not loaded; for SmolLM2's: alfworld-sft smollm2 DIR --file {weights[0]}; for others,"
            " take the model's Hugging Face folder"
        )
    return "there is no such folder" if is_path(model) and not path.is_dir() else None


def fetched_folder(model: str) -> Path | None:
    """Return the folder where the hub's client caches a model of this name, or None; without network access."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub")).expanduser()
    kept = cache / f"models--{model.replace('/', '--')}"
    try:
        folder = kept / "snapshots" / (kept / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return folder if folder.is_dir() else None
