"""Which weights does a run play with? A model may be trained again in its folder while a run of it is interrupted."""

from __future__ import annotations

import hashlib
from pathlib import Path

from alfworld_sft.files import sha256_of
from alfworld_sft.policies.config import PolicySection

_WEIGHTS = ("*.safetensors", "*.bin")


def weights_sha256(policy: PolicySection) -> str | None:
    """Return one hash of the weight files in the model's folder; None where the model is no folder on this machine.

    A model on the hub has none: its name may get other weights, but a cached one does not change.
    """
    here = policy.name == "local" or policy.serve is not None
    if not here or not policy.model or not (folder := Path(policy.model).expanduser()).is_dir():
        return None
    files = sorted(file for pattern in _WEIGHTS for file in folder.glob(pattern))
    return hashlib.sha256("\n".join(f"{file.name} {sha256_of(file)}" for file in files).encode()).hexdigest()
