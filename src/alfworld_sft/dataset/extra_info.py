"""How is `extra_info` parsed, and which turns does it exclude from training? Anything unreadable is an error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from alfworld_sft.dataset.cells import explain_unreadable, looks_nested, parse_cell
from alfworld_sft.dataset.messages import short_repr
from alfworld_sft.errors import DatasetError

EXTRA_INFO = "extra_info"


def parse_extra_info(value: object, place: str) -> dict[str, Any]:
    """Return extra_info as a dict, whether it is stored as a struct or as text; empty if there is none.

    Raises DatasetError for anything else, since it may mark turns as mistakes.
    """
    parsed = parse_cell(value) if isinstance(value, str) else value
    if parsed is None or parsed == "" or (isinstance(parsed, float) and math.isnan(parsed)):
        return {}
    if isinstance(parsed, Mapping):
        return dict(parsed)
    why = f": {explain_unreadable(parsed)}" if isinstance(parsed, str) and looks_nested(parsed) else ""
    raise DatasetError(
        f"{place}: {EXTRA_INFO} is {short_repr(value)}, not a JSON object{why};"
        " fix or remove the column: it may say which turns are not to be trained"
    )


def untrained_turns(extra: Mapping[str, Any], place: str) -> set[int]:
    """Return the untrained turns listed in extra_info, converted from counting from 1 to counting from 0.

    Whole numbers may be stored as 2.0 or as text; raises DatasetError for any other entry.
    """
    value = extra.get("untrained_turns")
    value = parse_cell(value) if isinstance(value, str) else value
    if value is None or value == "":
        return set()
    turns = [_integer(item) for item in value] if isinstance(value, Sequence) and not isinstance(value, str) else []
    known = [turn for turn in turns if turn is not None and turn > 0]
    if isinstance(value, str) or not isinstance(value, Sequence) or len(known) < len(value):
        raise DatasetError(
            f"{place}: {EXTRA_INFO}.untrained_turns is {short_repr(value)}; it must be a list of turns, counted from 1"
        )
    return {turn - 1 for turn in known}


class Tried(NamedTuple):
    """An action that was tried beside what was played, and the game's answer.

    `prompt` is what it answers, None for the row's own; `turn` then tells it from those of other turns.
    """

    action: str
    observation: str
    prompt: str | None = None
    turn: int | None = None


def alternatives(extra: Mapping[str, Any], place: str) -> list[Tried]:
    """Return the actions that were tried in the row's turn, and in turns before or after it that have no row.

    Raises DatasetError for anything but a list of {action, observation}, with {turn, prompt} or without.
    """
    value = extra.get("alternatives")
    value = parse_cell(value) if isinstance(value, str) else value
    if value is None or value == "":
        return []
    listed = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    found = [tried for one in listed if isinstance(one, Mapping) and (tried := _tried(one)) is not None]
    if len(found) < len(listed):
        raise DatasetError(
            f"{place}: {EXTRA_INFO}.alternatives is {short_repr(value)}; it must be a list of objects with the texts"
            " action and observation"
        )
    return found


def _tried(one: Mapping[str, Any]) -> Tried | None:
    """Read one alternative; None for what is none."""
    action, seen, prompt = one.get("action"), one.get("observation"), one.get("prompt")
    if isinstance(action, str) and isinstance(seen, str) and isinstance(prompt, str | None):
        return Tried(action, seen, prompt, _integer(one.get("turn")) if prompt is not None else None)
    return None


def lacks_turns(extra: Mapping[str, Any], place: str) -> bool:
    """Return whether trained turns precede the row's own: it stands for them, or other rows do."""
    turn = own_turn(extra)
    return turn is not None and len([t for t in untrained_turns(extra, place) if t < turn]) < turn


def is_last_turn(extra: Mapping[str, Any]) -> bool:
    """Return whether the row's own turn is the last of its episode."""
    turn, turns = own_turn(extra), _integer(extra.get("turns"))
    return turn is not None and turns is not None and turn + 1 == turns


def own_turn(extra: Mapping[str, Any]) -> int | None:
    """Return the row's own turn, counted from 0, or None if extra_info does not give it."""
    turn = _integer(extra.get("turn"))
    return None if turn is None else turn - 1


def _integer(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return int(number) if number.is_integer() else None
