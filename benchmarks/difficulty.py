"""What does the difficulty dial do? The expert on generated games, easy to hard, and with each part of the dial alone.

    python -m benchmarks.difficulty [--games N]        # writes benchmarks/results/difficulty.json

50 steps, split train. "no prior" is the expert that does not know where things tend to lie.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from statistics import fmean
from typing import Any

from alfworld_sft.games.generator.generate import generate_games
from alfworld_sft.games.generator.rooms import EASY, HARD, NORMAL, Difficulty, difficulty_of
from alfworld_sft.policies.expert.expert import Expert
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.rollout import Protocol, run_episode
from alfworld_sft.seeds import derive_seed
from benchmarks._result import write_result

REPOSITORY = Path(__file__).parents[1]
SETTINGS: dict[str, Difficulty] = {
    "easy (0)": EASY,
    "0.5": difficulty_of("0.5"),
    "normal (1)": NORMAL,
    "1.5": difficulty_of("1.5"),
    "hard (2)": HARD,
    **{f"normal, {part} as in hard": NORMAL._replace(**{part: getattr(HARD, part)}) for part in Difficulty._fields},
}


async def measure(difficulty: Difficulty, number: int) -> dict[str, Any]:
    """Play the games of one difficulty with both experts."""
    games = [made.game for made in generate_games(number, 0, difficulty=difficulty)]
    template, protocol = load_template("compact"), Protocol()
    result: dict[str, Any] = {
        "dial": difficulty._asdict(),
        "receptacles": round(fmean(len(game.receptacles) for game in games), 2),
        "can_be_opened": round(fmean(fmean(p.openable for p in game.receptacles) for game in games), 3),
        "objects": round(fmean(len(game.objects) for game in games), 2),
        "shortest_plan": round(fmean(len(game.walkthrough or ()) for game in games), 2),
    }
    for name, policy in (("expert", Expert()), ("no prior", Expert(prior=False))):
        episodes = [
            await run_episode(game, policy, template, protocol, index=i, seed=derive_seed("difficulty", i))
            for i, game in enumerate(games)
        ]
        result[name] = {
            "success": round(fmean(e.success for e in episodes), 4),
            "steps_when_won": round(fmean(len(e.steps) for e in episodes if e.success), 2),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--games", type=int, default=600)
    options = parser.parse_args()
    found = {name: asyncio.run(measure(difficulty, options.games)) for name, difficulty in SETTINGS.items()}
    print("| difficulty | receptacles | can be opened | objects | shortest plan | expert | without prior |")
    print("|---|---|---|---|---|---|---|")
    for name, line in found.items():
        cells = [
            f"{line['receptacles']:.1f}",
            f"{line['can_be_opened']:.0%}",
            f"{line['objects']:.1f}",
            f"{line['shortest_plan']:.2f}",
            *(f"{e['success']:.1%}, {e['steps_when_won']:.1f} steps" for e in (line["expert"], line["no prior"])),
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    print(write_result("difficulty", {"games": options.games, "settings": found}).name)


if __name__ == "__main__":
    main()
