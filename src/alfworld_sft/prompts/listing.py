"""How a prompt writes down lists of commands, past steps, and observations in few words."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from alfworld_sft.types import Exchange

NO_ACTION = "(no valid action)"
"""How the history shows a turn whose reply held no action at all."""

_ALWAYS = ("go to ", "look", "inventory", "help")
_GO = re.compile(r"(go to|examine) (.+)")
_TAKE = re.compile(r"take (.+) from (.+)")
_PUT = re.compile(r"(move .+ to|put .+ in/on) (.+)")


def list_commands(commands: Iterable[str]) -> str:
    """Write all commands on one line, each in full."""
    return ", ".join(commands)


def list_grouped_commands(commands: Iterable[str]) -> str:
    """Write all commands in short: those of one kind together, runs of numbers as a range.

    >>> list_grouped_commands(["go to bed 1", "go to shelf 1", "go to shelf 2", "look", "take pen 1 from bed 1"])
    'look; go to (bed 1, shelf 1-2); take pen 1 from bed 1'
    """
    plain: list[str] = []
    ways: dict[str, list[str]] = defaultdict(list)
    puts: dict[str, list[str]] = defaultdict(list)
    takes: dict[str, list[str]] = defaultdict(list)
    for command in commands:
        if match := _GO.fullmatch(command):
            ways[match[1]].append(match[2])
        elif match := _TAKE.fullmatch(command):
            takes[match[2]].append(match[1])
        elif match := _PUT.fullmatch(command):
            puts[match[1]].append(match[2])
        else:
            plain.append(command)
    plain += [f"{verb} {_bracketed(places)}" for verb, places in (*ways.items(), *puts.items())]
    plain += [f"take {_bracketed(objects)} from {place}" for place, objects in takes.items()]
    return "; ".join(plain)


def list_special_commands(commands: Iterable[str]) -> str:
    """Write the commands that are special to a place, grouped; those that are always possible are left out.

    `examine` is named only where there is a choice: it then tells what is in reach, and so where one cannot go. With
    the receptacles named at the start, nothing that the full list tells is lost.

    >>> list_special_commands(["look", "examine desk 1", "take pen 1 from desk 1", "take mug 2 from desk 1"])
    'take (pen 1, mug 2) from desk 1'
    >>> list_special_commands(["look", "examine desk 1", "examine drawer 1", "open drawer 1"])
    'open drawer 1; examine (desk 1, drawer 1)'
    """
    special = [command for command in commands if not command.startswith(_ALWAYS)]
    if sum(command.startswith("examine ") for command in special) == 1:
        special = [command for command in special if not command.startswith("examine ")]
    return list_grouped_commands(special) or "nothing else"


def list_history(history: Sequence[Exchange], first_step: int) -> str:
    """Write past steps, one paragraph each; `first_step` is the number of the oldest (from 1)."""
    return "\n".join(
        f"[step {number}] You saw: {past.observation}\n[step {number}] You did: {past.action or NO_ACTION}"
        for number, past in enumerate(history, first_step)
    )


def list_short_history(history: Sequence[Exchange]) -> str:
    """Write past steps in the shortest form: what was seen, then `> ` and what was done."""
    return "\n".join(f"{shorten(past.observation)}\n> {past.action or NO_ACTION}" for past in history)


_ROOM = re.compile(r"You are in the middle of a room\. Looking quickly around you, you see (.+)\.", re.DOTALL)
_SEEN = re.compile(
    r"(?:You (?:arrive at|open the) [a-z]+ \d+\. )?"
    r"(?:On the (?P<on>[a-z]+ \d+), you see (?P<on_it>.+)\.|"
    r"The (?P<open>[a-z]+ \d+) is open\. In it, you see (?P<in_it>.+)\.|"
    r"The (?P<closed>[a-z]+ \d+) is closed\.)"
)
_DONE = re.compile(r"You (?:pick up|move|put|heat|cool|clean|close|turn on|sliced) .+\.")


def shorten(observation: str) -> str:
    """Say an observation in few words without losing what it tells beyond the command that led to it.

    >>> shorten("You arrive at desk 1. On the desk 1, you see a pen 2, and a mug 1.")
    'desk 1: pen 2 mug 1'
    >>> shorten("You pick up the pen 2 from the desk 1.")
    'ok'
    """
    if match := _ROOM.fullmatch(observation):
        return _by_class(_names(match[1]))
    if match := _SEEN.fullmatch(observation):
        if match["closed"]:
            return f"{match['closed']} closed"
        if match["open"]:
            return f"{match['open']} open: {' '.join(_names(match['in_it']))}"
        return f"{match['on']}: {' '.join(_names(match['on_it']))}"
    return "ok" if _DONE.fullmatch(observation) else observation


def _names(listed: str) -> list[str]:
    """Split the game's "a pen 2, and a mug 1" into names."""
    return [name.removeprefix("and ").removeprefix("a ") for name in listed.split(", ")]


def _by_class(names: Sequence[str]) -> str:
    """Write names with the numbers of a class together: cabinet 1 2 3 4 bed 1."""
    return " ".join(" ".join((kind, *map(str, numbers))) for kind, numbers in _numbers(names).items())


def _ranges(names: Sequence[str]) -> list[str]:
    """Write names by class, runs of numbers as a range: cabinet 1-4, bed 1."""
    return [f"{kind} {run}".rstrip() for kind, numbers in _numbers(names).items() for run in _runs(numbers) or [""]]


def _numbers(names: Sequence[str]) -> dict[str, list[int]]:
    """Return the numbers of each class, rising; each name alone, without one, where any name has none."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for name in names:
        kind, _, number = name.rpartition(" ")
        if not number.isdigit():
            return {name: [] for name in names}
        numbers[kind].append(int(number))
    return {kind: sorted(found) for kind, found in numbers.items()}


def _runs(numbers: Sequence[int]) -> list[str]:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return [str(first) if first == last else f"{first}-{last}" for first, last in runs]


def _bracketed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"({', '.join(_ranges(names))})"
