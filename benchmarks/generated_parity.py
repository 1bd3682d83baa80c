"""Does the reference play generated games as our world does? Ten of each task type, and the walkthroughs.

    python -m benchmarks.generated_parity                  # writes benchmarks/results/generated_parity.json
    python -m benchmarks.generated_parity --per-type 1     # prints, writes no result

Each game is written to a file, loaded by alfworld 0.4.2 in a process of its own and by our world, and played twice in
both: the stored walkthrough, which must win with its last command; then 40 commands as in `benchmarks.parity`
(towards the goal, at random, invalid, aimed at rare cases). The games are of all splits and difficulties in turn, and
the process's hash seed is the game's number. Exit status: 0 no difference, 1 differences.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alfworld_sft.games.generator.generate import GeneratedGame, GeneratedSplit, generate_game
from alfworld_sft.games.generator.rooms import DIFFICULTIES
from alfworld_sft.types import TASK_TYPES
from benchmarks._result import write_result
from tests.reference.client import Reference, World, why_no_reference
from tests.reference.differential import Difference, OurWorld, compare_game, differences
from tests.reference.facts import read_facts

SPLITS: tuple[GeneratedSplit, ...] = ("train", "valid_seen", "valid_unseen")
HASH_SEEDS = (0, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--per-type", type=int, default=10)
    parser.add_argument("--steps", type=int, default=40, help="commands a game, besides the walkthrough")
    options = parser.parse_args()
    if why := why_no_reference():
        sys.exit(why)
    games = list(chosen(options.per_type))
    played: list[dict[str, Any]] = []
    started = time.perf_counter()
    for hash_seed in HASH_SEEDS:
        with Reference(hash_seed) as reference, tempfile.TemporaryDirectory() as folder:
            for game in games[hash_seed :: len(HASH_SEEDS)]:
                played.append(compare(reference, game, Path(folder), options.steps, hash_seed))
                pace = (time.perf_counter() - started) / len(played)
                found = sum(len(line["differences"]) for line in played)
                print(f"{len(played)}/{len(games)} games, {found} differences, {pace:.1f} s a game", file=sys.stderr)
            versions = reference.versions
    result = summary(played, versions)
    for difference in result["differences"]:
        print(difference)
    print(result["totals"])
    if options.per_type >= 10:
        print(write_result("generated_parity", result).name)
    return 1 if result["differences"] or result["totals"]["walkthroughs_won_in_both"] < len(games) else 0


def chosen(per_type: int) -> list[GeneratedGame]:
    """Games of every task type, of all splits and difficulties in turn."""
    names = list(DIFFICULTIES)
    return [
        generate_game(
            f"parity/{i}",
            task_types=[task_type],
            split=SPLITS[i % 3],
            difficulty=DIFFICULTIES[names[(i // 3) % 3]],
            endless=i % 2 == 1,
        )
        for i in range(per_type)
        for task_type in TASK_TYPES
    ]


def compare(reference: World, made: GeneratedGame, folder: Path, steps: int, hash_seed: int) -> dict[str, Any]:
    """Play one game in both worlds."""
    path = folder / made.id / "game.tw-pddl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made.file_bytes())
    path.with_name("traj_data.json").write_bytes(made.traj_bytes())
    found, won = follow(reference, OurWorld(), path, made.game.walkthrough or ())
    comparison = compare_game(
        reference, OurWorld(), path, read_facts(path), seed=made.id, steps=steps, goal_first=hash_seed == 0
    )
    return {
        "game": made.id,
        "task_type": made.game.task_type,
        "steps": len(made.game.walkthrough or ()) + sum(comparison.steps.values()),
        "walkthrough_won_in_both": won,
        "shapes": dict(comparison.shapes),
        "differences": [asdict(difference) for difference in [*found, *comparison.differences]],
    }


def follow(reference: World, ours: World, path: Path, commands: tuple[str, ...]) -> tuple[list[Difference], bool]:
    """Play the walkthrough in both worlds: every difference, and whether both were won by the last command alone."""
    reference.load(path)
    ours.load(path)
    found = differences(0, "reset", "", reference.reset(), ours.reset())
    wins: list[bool] = []
    for step, command in enumerate(commands, start=1):
        theirs, mine = reference.step(command), ours.step(command)
        found += differences(step, "walkthrough", command, theirs, mine)
        wins.append(theirs.won and mine.won)
    return found, bool(wins) and wins[-1] and not any(wins[:-1])


def summary(played: list[dict[str, Any]], versions: dict[str, str]) -> dict[str, Any]:
    """The result: counts and every difference."""
    shapes: Counter[str] = Counter()
    for line in played:
        shapes.update(line["shapes"])
    found = [{"game": line["game"]} | difference for line in played for difference in line["differences"]]
    totals = {
        "games": len(played),
        "games_by_task_type": dict(Counter(line["task_type"] for line in played)),
        "resets": 2 * len(played),
        "steps": sum(line["steps"] for line in played),
        "walkthroughs_won_in_both": sum(line["walkthrough_won_in_both"] for line in played),
        "differences": len(found),
    }
    return {
        "totals": totals,
        "answers_by_shape": dict(shapes.most_common()),
        "differences": found,
        "games": [line["game"] for line in played],
        "hash_seeds": list(HASH_SEEDS),
        "versions": versions,
    }


if __name__ == "__main__":
    sys.exit(main())
