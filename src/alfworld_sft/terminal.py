"""What may reach a terminal: control characters of untrusted text are spelt out."""

from __future__ import annotations

import logging


def printable(text: str) -> str:
    """Return a text whose control characters are spelt out: one from a file must not steer the user's terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class PrintableFormatter(logging.Formatter):
    """Formats records for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line, without control characters."""
        return printable(super().format(record))
