"""Which weights does a run play with? A model may be trained again in its folder while a run of it is interrupted."""

from __future__ import annotations

import hashlib
from pathlib import Path

from alfworld_sft.policies.config import PolicySection

_WEIGHTS = ("*.safetensors", "*.bin")
_BLOCKS, _BLOCK_BYTES = 16, 1 << 16


def weights_fingerprint(policy: PolicySection) -> str | None:
    """Return one hash of the weight files in the model's folder; None where the model is no folder on this machine.

    Of each file it takes the size and some blocks of bytes all over it, so that the largest model costs no time:
    training changes every block. A model on the hub has none.
    """
    if not policy.loads_model_here or not policy.model or not (folder := Path(policy.model).expanduser()).is_dir():
        return None
    found = hashlib.sha256()
    for file in sorted(file for pattern in _WEIGHTS for file in folder.glob(pattern)):
        size = file.stat().st_size
        found.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as weights:
            for number in range(_BLOCKS):
                weights.seek(number * max(0, size - _BLOCK_BYTES) // (_BLOCKS - 1))
                found.update(weights.read(_BLOCK_BYTES))
    return found.hexdigest()
