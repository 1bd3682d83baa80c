"""What does the task sentence ask for? The reading of `world/sentence.py`, for policies."""

from __future__ import annotations

from alfworld_sft.errors import PolicyError
from alfworld_sft.world.sentence import Goal, read_task

__all__ = ["Goal", "read_goal"]


def read_goal(task: str) -> Goal:
    """Return what the sentence asks for; raises PolicyError for one that is none of ALFWorld's."""
    goal = read_task(task)
    if goal is None:
        raise PolicyError(f"the expert does not understand the task {task!r}; it knows ALFWorld's six kinds of task")
    return goal
