"""How does a task get into a text grammar? As `alfworld.agents.utils.misc.add_task_to_grammar` writes it there."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from alfworld_sft.games.generator.dice import Dice
from alfworld_sft.games.generator.tasks import Task, sentence

_BLANK = "UNKNOWN GOAL"


def add_task_to_grammar(
    grammar_str: str, traj_data: Mapping[str, Any], goal_desc_human_anns_prob: float = 0.0, rng: Any = random
) -> str:
    """Return the grammar with the task of `traj_data` in words: a person's with this probability, else a template's."""
    if rng.random() < goal_desc_human_anns_prob:
        task = str(rng.choice(traj_data["turk_annotations"]["anns"])["task_desc"])
    else:
        task = _from_template(traj_data)
    return grammar_str.replace(_BLANK, task)


def _from_template(traj_data: Mapping[str, Any]) -> str:
    params = {name: str(value).lower() for name, value in traj_data["pddl_params"].items()}
    goal = params["parent_target"] or params["toggle_target"]
    task = Task(traj_data["task_type"], "kitchen", params["object_target"], goal)  # the room is in no sentence
    return sentence(Dice(str(random.getrandbits(32))), task)
