"""How is an episode stored as one line of JSON, and read back?"""

from __future__ import annotations

import json
import math
from dataclasses import fields
from typing import Any

from alfworld_sft.strict_json import to_json, writable
from alfworld_sft.types import Advice, Alternative, Distance, Episode, Reply, Step


def to_line(episode: Episode) -> bytes:
    """Return the episode as one line of JSON, with the line feed; the same episode always gives the same bytes.

    A non-finite log-probability is written as null, and read back as NaN.
    """
    return to_json(to_dict(episode), separators=(",", ":")).encode() + b"\n"


def to_dict(episode: Episode) -> dict[str, Any]:
    """Return plain dicts and lists, without values that the policy did not provide (e.g. token ids)."""
    record = _shallow(episode)
    record["steps"] = [_step_record(step) for step in episode.steps]
    return record


def from_line(line: bytes) -> Episode:
    """Read `to_line`'s output; raises ValueError for anything else. Half a surrogate pair becomes a question mark."""
    try:
        data = json.loads(line)
        if b"\\ud" in line or b"\\uD" in line:  # an escape that may be half of a surrogate pair
            data = json.loads(writable(json.dumps(data, ensure_ascii=False)))
        for name in ("game_id", "split", "task", "task_type", "template", "policy"):
            if not isinstance(data[name], str):
                raise ValueError(f"{name} is no text")
        return Episode(**{**data, "steps": tuple(_step(step) for step in data["steps"])})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"not an episode: {error}") from None


def _step_record(step: Step) -> dict[str, Any]:
    """Return a step's record; what only some runs record is left out of the others'."""
    record = {**_shallow(step), "reply": _without_none(_shallow(step.reply))}
    extras = {name: record.pop(name) for name in ("teacher", "alternatives", "distance")}
    if step.teacher is not None:
        reply = _without_none(_shallow(step.teacher.reply))
        extras["teacher"] = _without_none({**_shallow(step.teacher), "reply": reply})
    extras["alternatives"] = [_without_none(_shallow(other)) for other in step.alternatives] or None
    return record | _without_none(extras)


def _step(data: dict[str, Any]) -> Step:
    read = {**data, "reply": _reply(data["reply"]), "admissible_commands": tuple(data["admissible_commands"])}
    if not set(map(type, read["admissible_commands"])) <= {str}:
        raise ValueError("an admissible command is no text")
    if "teacher" in data:
        _check_distance(data["teacher"].get("distance"))
        read["teacher"] = Advice(**{"problem": None, **data["teacher"], "reply": _reply(data["teacher"]["reply"])})
    if "alternatives" in data:
        read["alternatives"] = tuple(Alternative(**other) for other in data["alternatives"])
    if "distance" in data:
        read["distance"] = Distance(*data["distance"])
    for distance in (*read.get("distance", ()), *(other.distance for other in read.get("alternatives", ()))):
        _check_distance(distance)
    return Step(**read)


def _check_distance(value: object) -> None:
    if value is not None and type(value) is not int:
        raise ValueError(f"a distance is a number of steps, not {value!r}")


def _reply(data: dict[str, Any]) -> Reply:
    listed = ("prompt_token_ids", "token_ids", "logprobs", "rejected")
    tuples = {key: tuple(data[key]) for key in listed if key in data}
    if "logprobs" in tuples:
        tuples["logprobs"] = tuple(math.nan if value is None else value for value in tuples["logprobs"])
    return Reply(**{**data, **tuples})


def _shallow(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _without_none(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if value is not None}
