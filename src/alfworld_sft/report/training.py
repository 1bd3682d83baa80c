"""How did a training run go? `metrics.jsonl` → one curve for each figure that it logs, whatever trained."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from alfworld_sft.errors import RunFolderError, os_reason

Records: TypeAlias = Sequence[dict[str, Any]]
MOST_POINTS = 2000
"""Points of a curve; of a longer one the mean of each stretch is drawn."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One logged figure over the steps of a run."""

    name: str
    steps: list[float]
    values: list[float]


def read_records(path: Path) -> Records:
    """Read a training's figures; a torn last line does not count. Raises RunFolderError for any other line."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunFolderError(f"{path}: {os_reason(error)}") from None
    records = []
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            break
        try:
            record = json.loads(line)
            float(record["step"])
        except (ValueError, TypeError, KeyError, RecursionError):
            raise RunFolderError(f"{path}: line {number} is not one that train wrote") from None
        records.append(record)
    return records


def curves_of(records: Records) -> list[Curve]:
    """Return a curve for each finite figure, in the order of their first appearance; `step` is the axis."""
    points: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for key, value in record.items():
            if key != "step" and isinstance(value, int | float) and math.isfinite(value):
                points.setdefault(key, []).append((float(record["step"]), float(value)))
    return [_curve(name, found) for name, found in points.items()]


def _curve(name: str, points: Sequence[tuple[float, float]]) -> Curve:
    width = math.ceil(len(points) / MOST_POINTS)
    parts = [points[start : start + width] for start in range(0, len(points), width)]
    return Curve(name, [part[-1][0] for part in parts], [_mean(value for _, value in part) for part in parts])


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return math.fsum(found) / len(found)
