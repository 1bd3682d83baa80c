"""How a prompt writes down lists of commands, past steps, and observations in few words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from alfworld_sft.types import Exchange
from alfworld_sft.world.language import (
    ARRIVED,
    CLOSED,
    HOLDS,
    IN_ROOM,
    IS_CLOSED,
    IS_OPEN,
    NOTHING,
    OPENED,
    PUT_DOWN,
    SLICED,
    TAKE,
    TAKEN,
    TREATED,
    TURNED_ON,
    WITH_ARTICLE,
    Command,
    read_command,
    read_sentence,
    verb_of,
)

NO_ACTION = "(no valid action)"
"""How the history shows a turn whose reply held no action at all."""

_ALWAYS = ("go", "look", "inventory", "help")
_DONE = (TAKEN, *PUT_DOWN.values(), TREATED, CLOSED, TURNED_ON, SLICED)
"""Sentences that say no more than the command that led to them."""


def list_commands(commands: Iterable[str]) -> str:
    """Write all commands on one line, each in full."""
    return ", ".join(commands)


def list_grouped_commands(commands: Iterable[str]) -> str:
    """Write all commands in short: those of one kind together, runs of numbers as a range.

    >>> list_grouped_commands(["go to bed 1", "go to shelf 1", "go to shelf 2", "look", "take pen 1 from bed 1"])
    'look; go to (bed 1, shelf 1-2); take pen 1 from bed 1'
    """
    plain: list[str] = []
    ways: dict[Command, list[str]] = defaultdict(list)
    puts: dict[tuple[Command, str], list[str]] = defaultdict(list)
    takes: dict[str, list[str]] = defaultdict(list)
    for text in commands:
        said = read_command(text)
        command, names = said or (None, ())
        if command is None or command.verb not in ("go", "examine", "put", "take"):
            plain.append(text)
        elif command.verb == "take":
            takes[names[1]].append(names[0])
        elif command.verb == "put":
            puts[command, names[0]].append(names[1])
        else:
            ways[command].append(names[0])
    plain += [command.format(_bracketed(names)) for command, names in ways.items()]
    plain += [command.format(name, _bracketed(places)) for (command, name), places in puts.items()]
    plain += [TAKE.format(_bracketed(names), place) for place, names in takes.items()]
    return "; ".join(plain)


def list_special_commands(commands: Iterable[str]) -> str:
    """Write the commands that are special to a place, grouped; those that are always possible are left out.

    `examine` is named only where there is a choice: it then shows what is in reach, and so where one cannot go. With
    the receptacles named at the start, nothing in the full list is lost.

    >>> list_special_commands(["look", "examine desk 1", "take pen 1 from desk 1", "take mug 2 from desk 1"])
    'take (pen 1, mug 2) from desk 1'
    >>> list_special_commands(["look", "examine desk 1", "examine drawer 1", "open drawer 1"])
    'open drawer 1; examine (desk 1, drawer 1)'
    """
    special = [(verb, command) for command in commands if (verb := verb_of(command)) not in _ALWAYS]
    if sum(verb == "examine" for verb, _ in special) == 1:
        special = [(verb, command) for verb, command in special if verb != "examine"]
    return list_grouped_commands(command for _, command in special) or "nothing else"


def list_history(history: Sequence[Exchange], first_step: int) -> str:
    """Write past steps, one paragraph each; `first_step` is the number of the oldest (from 1)."""
    return "\n".join(
        f"[step {number}] You saw: {past.observation}\n[step {number}] You did: {past.action or NO_ACTION}"
        for number, past in enumerate(history, first_step)
    )


def list_short_history(history: Sequence[Exchange]) -> str:
    """Write past steps in the shortest form: what was seen, then `> ` and what was done."""
    return "\n".join(f"{shorten(past.observation)}\n> {past.action or NO_ACTION}" for past in history)


def list_lines(history: Sequence[Exchange]) -> str:
    """Write past steps as lines: what was seen in full, then `> ` and what was sent."""
    return "\n".join(f"{past.observation}\n> {past.action or NO_ACTION}" for past in history)


def shorten(observation: str) -> str:
    """Shorten an observation without losing what it says beyond the command that led to it.

    >>> shorten("You arrive at desk 1. On the desk 1, you see a pen 2, and a mug 1.")
    'desk 1: pen 2 mug 1'
    >>> shorten("You pick up the pen 2 from the desk 1.")
    'ok'
    """
    said = read_sentence(observation)
    if said is None:
        return observation
    if said.sentence in (ARRIVED, OPENED):
        said = read_sentence(said.values[1]) or said
    sentence, values = said
    if sentence is IN_ROOM:
        return _by_class(_listed(values[0]))
    if sentence is IS_CLOSED:
        return f"{values[0]} closed"
    if sentence is IS_OPEN:
        return f"{values[0]} open: {' '.join(_listed(values[1]))}"
    if sentence is HOLDS:
        return f"{values[0]}: {' '.join(_listed(values[1]))}"
    return "ok" if sentence in _DONE else observation


def _listed(text: str) -> tuple[str, ...]:
    """Return the names in one of the game's lists, and what the game says of an empty one."""
    return WITH_ARTICLE.parse(text) or (NOTHING,)


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
