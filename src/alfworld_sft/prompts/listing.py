"""How does a prompt write lists of commands, the history and short observations?"""

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
"""What the history shows for a reply without an action."""

_ALWAYS = ("go", "look", "inventory", "help")
_ACKNOWLEDGEMENTS = (TAKEN, *PUT_DOWN.values(), TREATED, CLOSED, TURNED_ON, SLICED)
"""Sentences that only confirm the command before them."""


def list_commands(commands: Iterable[str]) -> str:
    """Write all commands in full, on one line."""
    return ", ".join(commands)


def list_grouped_commands(commands: Iterable[str]) -> str:
    """Write all commands in short form: grouped by kind, consecutive numbers as a range.

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
    plain += [command.format(_bracket(names)) for command, names in ways.items()]
    plain += [command.format(name, _bracket(places)) for (command, name), places in puts.items()]
    plain += [TAKE.format(_bracket(names), place) for place, names in takes.items()]
    return "; ".join(plain)


def list_special_commands(commands: Iterable[str]) -> str:
    """Write the commands specific to the present location, grouped; commands that are always possible are left out.

    `examine` is listed only if there are several things to examine; it then shows what is within reach. Together with
    the receptacles named at the start, this carries as much information as the full list.

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
    """Write past steps in the shortest form: the observation, then `> ` and the command."""
    return "\n".join(f"{shorten(past.observation)}\n> {past.action or NO_ACTION}" for past in history)


def list_lines(history: Sequence[Exchange]) -> str:
    """Write past steps as lines: what was seen in full, then `> ` and what was sent."""
    return "\n".join(f"{past.observation}\n> {past.action or NO_ACTION}" for past in history)


def shorten(observation: str) -> str:
    """Shorten an observation, keeping everything that does not follow from the command before it.

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
        return _group_by_class(_names_in_list(values[0]))
    if sentence is IS_CLOSED:
        return f"{values[0]} closed"
    if sentence is IS_OPEN:
        return f"{values[0]} open: {' '.join(_names_in_list(values[1]))}"
    if sentence is HOLDS:
        return f"{values[0]}: {' '.join(_names_in_list(values[1]))}"
    return "ok" if sentence in _ACKNOWLEDGEMENTS else observation


def _names_in_list(text: str) -> tuple[str, ...]:
    """Return the names in one of the game's lists, or its word for an empty one."""
    return WITH_ARTICLE.parse(text) or (NOTHING,)


def _group_by_class(names: Sequence[str]) -> str:
    """Write names with the numbers of each class together: cabinet 1 2 3 4 bed 1."""
    return " ".join(" ".join((kind, *map(str, numbers))) for kind, numbers in _numbers_by_class(names).items())


def _format_ranges(names: Sequence[str]) -> list[str]:
    """Write names by class, consecutive numbers as a range: cabinet 1-4, bed 1."""
    return [
        f"{kind} {run}".rstrip()
        for kind, numbers in _numbers_by_class(names).items()
        for run in _format_runs(numbers) or [""]
    ]


def _numbers_by_class(names: Sequence[str]) -> dict[str, list[int]]:
    """Return each class with its numbers in ascending order; if any name lacks a number, every name with none."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for name in names:
        kind, _, number = name.rpartition(" ")
        if not number.isdigit():
            return {name: [] for name in names}
        numbers[kind].append(int(number))
    return {kind: sorted(found) for kind, found in numbers.items()}


def _format_runs(numbers: Sequence[int]) -> list[str]:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return [str(first) if first == last else f"{first}-{last}" for first, last in runs]


def _bracket(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"({', '.join(_format_ranges(names))})"
