"""What a transcript is told of a game, for tests that play none."""

from typing import NamedTuple

from alfworld_sft.types import TaskType


class Told(NamedTuple):
    """A goal, and what else prompts depend on."""

    task: str
    task_type: TaskType = "pick_and_place_simple"
    grammar: str = "move"
