"""What does a checkpoint's stamp record? What was trained, and on which base model."""

from __future__ import annotations

import hashlib
import json
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch

from alfworld_sft.errors import UserError
from alfworld_sft.models.load import base_of, plain_name

STAMP_FORMAT = 1

STAMP_FILE = "alfworld_sft.json"


class CheckpointError(UserError):
    """A checkpoint that cannot be written or resumed."""


def read_stamp(path: Path) -> dict[str, Any]:
    """Return the stamp of a checkpoint or a final model; raises CheckpointError."""
    try:
        stamp = json.loads((path / STAMP_FILE).read_bytes())
        if stamp["format"] != STAMP_FORMAT:
            raise CheckpointError(f"{path}: its format {stamp['format']} is not known to this version")
    except FileNotFoundError:
        raise CheckpointError(f"{path} has no {STAMP_FILE}: it was not made by alfworld-sft train") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path / STAMP_FILE} cannot be read: {error}") from None
    return dict(stamp)


def base_fingerprint(model: Any) -> str:
    """Return a hash of the names, shapes and first values of a base model's weights, independent of the stored dtype.

    Values are compared as bfloat16, so a base loaded in float32 matches itself in bfloat16.
    """
    digest = hashlib.sha256()
    named = ((plain_name(n), p) for n, p in base_of(model).named_parameters() if "lora_" not in n)
    for plain, parameter in sorted(named, key=itemgetter(0)):
        values = parameter.detach().flatten()[:512].to(device="cpu", dtype=torch.bfloat16).view(torch.int16)
        digest.update(f"{plain}{tuple(parameter.shape)}".encode() + values.numpy().tobytes())
    return digest.hexdigest()
