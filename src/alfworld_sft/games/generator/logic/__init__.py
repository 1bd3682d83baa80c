"""Our own domain and grammar: the rules and the words of the games that this package writes.

Both are meant for the reference as much as for us: it loads and plays such games like any other.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from alfworld_sft.world.grammar import split_task

_TASK = "THE TASK"


@cache
def domain_text() -> str:
    """Return the PDDL domain of a game."""
    return files(__package__).joinpath("domain.pddl").read_text("utf-8")


def grammar_text(task: str) -> str:
    """Return the text grammar of a game with this task sentence ("put a mug in desk.").

    Raises ValueError for a sentence that the reference would not print as it stands.
    """
    text = _template().replace(_TASK, task, 1)
    if split_task(text)[1] != task:
        raise ValueError(f"a game cannot have the task sentence {task!r}")
    return text


@cache
def _template() -> str:
    return files(__package__).joinpath("grammar.twl2").read_text("utf-8")
