"""Which packages does training need?"""

from __future__ import annotations

from importlib.util import find_spec

from alfworld_sft.errors import UserError

PACKAGES = ("torch", "transformers", "peft", "safetensors", "numpy")

INSTALL = "pip install 'alfworld-sft[train]'"


def require_training_packages() -> None:
    """Raise UserError if a package that training needs is not installed."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(f"training needs {', '.join(missing)}: {INSTALL}")
