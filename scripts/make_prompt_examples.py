"""Make the example games that the prompts of the protocols `react` and `eto` show.

    python scripts/make_prompt_examples.py

Writes src/alfworld_sft/prompts/examples.json: two games of each task type, from the training games inside the package,
played by the expert. Of the first games by id those are taken that are won in the middle number of steps: neither
luck nor a long search. The same code writes the same file.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

from alfworld_sft.games import find_games
from alfworld_sft.policies.expert.expert import Expert
from alfworld_sft.prompts.tags import read_section
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.rollout import Protocol, run_episode
from alfworld_sft.types import TASK_TYPES, Episode
from alfworld_sft.world.language import verb_of

FILE = Path(__file__).parents[1] / "src" / "alfworld_sft" / "prompts" / "examples.json"
CANDIDATES = 15
EXAMPLES = 2
_ON_THE_WAY = ("go", "open", "look", "examine", "inventory")


def example_of(episode: Episode) -> dict[str, Any]:
    """A played game as `prompts.examples` reads it; the key steps are the first, and those that change something."""
    steps = [
        {
            "think": read_section(step.reply.text, "think"),
            "is_key": number == 0 or verb_of(step.command) not in _ON_THE_WAY,
            "command": step.command,
            "answer": step.next_observation,
        }
        for number, step in enumerate(episode.steps)
    ]
    return {"opening": episode.steps[0].observation, "task": episode.task, "steps": steps}


def main() -> None:
    refs = list(find_games("embedded", "train"))
    chosen: dict[str, list[dict[str, Any]]] = {}
    for task_type in TASK_TYPES:
        games = [ref.load() for ref in refs if ref.task_type == task_type][:CANDIDATES]
        played = [
            asyncio.run(run_episode(game, Expert(), load_template("default"), Protocol(), seed=0)) for game in games
        ]
        played = sorted((episode for episode in played if episode.success), key=lambda episode: len(episode.steps))
        middle = len(played) // 2
        chosen[task_type] = [example_of(episode) for episode in played[middle : middle + EXAMPLES]]
    FILE.write_text(json.dumps(chosen, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
