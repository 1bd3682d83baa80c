"""Which played games does a prompt show as examples, and how are they written?

`examples.json` holds two games of each task type, taken from the games inside the package and played by the expert
(`scripts/make_prompt_examples.py`), so no example comes from a game that a policy is evaluated on. They are kept in the
newer wording; `examples` gives them in that of the game to be played, for a prompt that shows `move` makes a policy
fail in a game that wants `put`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from alfworld_sft.prompts.formats import THOUGHT, THOUGHT_NOTED, write_reply
from alfworld_sft.types import TaskType, Wording
from alfworld_sft.world.language import ARRIVED, PUT, PUT_DOWN, TASK_PREFIX, read_command, read_sentence

FILE = "examples.json"


@dataclass(frozen=True, slots=True)
class ExampleStep:
    """One step of an example: the reason (not every step has one worth showing), the command, the game's answer."""

    think: str
    is_key: bool
    command: str
    answer: str


@dataclass(frozen=True, slots=True)
class Example:
    """One game, played to its end; `opening` is what is seen at first."""

    opening: str
    task: str
    steps: tuple[ExampleStep, ...]


@lru_cache(maxsize=16)
def examples(task_type: TaskType, wording: Wording) -> tuple[Example, ...]:
    """Return the examples of a task type, in the wording of a game."""
    return tuple(
        Example(
            opening=game["opening"],
            task=game["task"],
            steps=tuple(
                ExampleStep(
                    step["think"],
                    step["is_key"],
                    _reworded_command(step["command"], wording),
                    _reworded_answer(step["answer"], wording),
                )
                for step in game["steps"]
            ),
        )
        for game in json.loads(stored_examples())[task_type]
    )


@lru_cache(maxsize=1)
def stored_examples() -> str:
    """Return the text of the file that holds all examples."""
    return (resources.files("alfworld_sft.prompts") / FILE).read_text(encoding="utf-8")


def as_lines(example: Example) -> str:
    """Write an example as ReAct has it: lines that act or think, each with the answer below it."""
    lines = [example.opening, f"{TASK_PREFIX}{example.task}"]
    for step in example.steps:
        if step.is_key:
            lines += [f"> {THOUGHT} {step.think}", THOUGHT_NOTED]
        lines += [f"> {step.command}", step.answer]
    return "\n".join(lines)


def as_thoughts_and_actions(example: Example) -> str:
    """Write an example as ETO has it: a thought and an action in each reply, and the observation that follows."""
    lines = [example.opening, f"{TASK_PREFIX}{example.task}"]
    for step in example.steps:
        lines.append(write_reply("eto", (), {"think": step.think, "action": step.command}))
        lines.append(f"Observation: {step.answer}")
    return "\n".join(lines)


def _reworded_command(command: str, wording: Wording) -> str:
    said = read_command(command)
    return PUT[wording].format(*said[1]) if said and said[0].verb == "put" else command


def _reworded_answer(answer: str, wording: Wording) -> str:
    said = read_sentence(answer)
    if said and said.sentence in PUT_DOWN.values():
        return PUT_DOWN[wording].format(*said.values)
    # The older wording names a location where one arrives, which the protocols that show examples leave out.
    return said.values[1] if said and said.sentence is ARRIVED and wording == "put" else answer
