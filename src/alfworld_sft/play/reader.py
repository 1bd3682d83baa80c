"""Where does a person's line come from? With completion and history on a terminal, plainly elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

logger = logging.getLogger(__name__)

PROMPT = "> "
ReadLine: TypeAlias = Callable[[Sequence[str]], str]
"""Returns the next line, completed from the given words; raises EOFError at the end."""


def line_reader() -> ReadLine:
    """Return what reads lines here: prompt_toolkit on a terminal where it is installed."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return lambda _: input()
    try:
        from prompt_toolkit import PromptSession  # noqa: PLC0415
        from prompt_toolkit.completion import WordCompleter  # noqa: PLC0415
        from prompt_toolkit.history import InMemoryHistory  # noqa: PLC0415
    except ImportError:
        logger.info("for completion and history: pip install 'alfworld-sft[play]'")
        return lambda _: input(PROMPT)
    session = PromptSession(history=InMemoryHistory())

    def read(words: Sequence[str]) -> str:
        return str(session.prompt(PROMPT, completer=WordCompleter(list(words), sentence=True, match_middle=True)))

    return read
