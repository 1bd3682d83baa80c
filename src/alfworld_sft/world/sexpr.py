"""PDDL text → nested tuples of lower-case tokens."""

from __future__ import annotations

import re
from typing import TypeAlias

SExpr: TypeAlias = "str | tuple[SExpr, ...]"

MAX_DEPTH = 64
_COMMENT = re.compile(r";[^\n]*")


def parse_sexpr(text: str) -> tuple[SExpr, ...]:
    """Read all expressions of a PDDL text; PDDL ignores case, so tokens come out in lower case.

    Raises ValueError where brackets do not match or nest deeper than `MAX_DEPTH`, and for letters beyond ASCII
    outside of comments: they are no PDDL, and some turn into ASCII in lower case.
    """
    if ";" in text:
        text = _COMMENT.sub("", text)
    if not text.isascii():
        raise ValueError("it has characters that are not ASCII")
    open_lists: list[list[SExpr]] = []
    current: list[SExpr] = []
    for token in text.lower().replace("(", " ( ").replace(")", " ) ").split():
        if token == "(":
            if len(open_lists) >= MAX_DEPTH:
                raise ValueError(f"brackets nest deeper than {MAX_DEPTH}")
            open_lists.append(current)
            current = []
        elif token == ")":
            if not open_lists:
                raise ValueError("a closing bracket has no opening one")
            closed = tuple(current)
            current = open_lists.pop()
            current.append(closed)
        else:
            current.append(token)
    if open_lists:
        raise ValueError("an opening bracket is never closed")
    return tuple(current)
