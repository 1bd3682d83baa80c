"""Values → JSON that every reader takes: the standard has no NaN and no infinity, which Python writes anyway."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def to_json(value: object, **options: Any) -> str:
    """Return a value as standard JSON, with text as it stands; a number that is not finite becomes null.

    `options` are those of `json.dumps`.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, **options)


def writable(text: str) -> str:
    """Return a text with a question mark for each half of a surrogate pair, which JSON can contain and no file can."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
