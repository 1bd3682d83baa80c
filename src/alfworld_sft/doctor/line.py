"""What does the doctor say of one thing? Fine, worth knowing, or to be fixed, and then how."""

from __future__ import annotations

from typing import Literal, NamedTuple

Verdict = Literal["fine", "note", "fix"]


class Line(NamedTuple):
    """A thing that was looked at. `advice` says what to type or change, and is "" where all is fine."""

    thing: str
    verdict: Verdict
    found: str
    advice: str = ""


def fine(thing: str, found: str) -> Line:
    """Return the line of a thing that is as it should be."""
    return Line(thing, "fine", found)


def note(thing: str, found: str, advice: str) -> Line:
    """Return the line of a thing that works and could be better."""
    return Line(thing, "note", found, advice)


def fix(thing: str, found: str, advice: str) -> Line:
    """Return the line of a thing that keeps something from working."""
    return Line(thing, "fix", found, advice)
