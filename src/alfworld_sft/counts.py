"""Numbers as people read them: "1 episode", "2 episodes", "12.3 KiB"."""

from __future__ import annotations

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun; `plural` is given where it is more than the noun with an s."""
    return f"{number} {noun_for(number, noun, plural)}"


def noun_for(number: int, noun: str, plural: str | None = None) -> str:
    """Return the noun in the form that the number asks for."""
    return noun if number == 1 else f"{noun}s" if plural is None else plural


def size_in_words(size: int) -> str:
    """Return bytes in the unit that leaves a number below 1,000 or so, as 1.5 KiB; small sizes are exact."""
    amount, unit = float(size), 0
    while amount >= 1000 and unit < len(UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.1f} {UNITS[unit]}" if unit else counted(size, "byte")
