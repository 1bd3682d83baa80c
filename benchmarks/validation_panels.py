"""What does a validation of N actors play, and how far do results of one and the same agent lie apart because of it?

    python -m benchmarks.validation_panels               # writes benchmarks/results/validation_panels.json
    python -m benchmarks.validation_panels --plays 2     # quick: prints, writes no result

The published training code validates ALFWorld with N actors: actor i is seeded with `env.seed + 1000 + i`, shuffles
the split by itself and plays the first game of its own order. The real alfworld and textworld choose these games here
(`first_games.py`, in the reference's interpreter) by their own seeding, checked on some actors by whole resets, for
env.seed=0, for many other seeds, and for other orders of the files on disk.

The agent is the expert with mistakes in half of its turns and 30 steps; each game is played `--plays` times, so the
table holds each game's own success rate. A validation is then drawn again and again: its games, and for each one of
the recorded plays. What varies is the choice of games and the luck of a play; the agent never changes.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alfworld_sft.config import build_config
from alfworld_sft.evaluate.compare import read_result
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.evaluate.run import evaluate, start_evaluation
from benchmarks._result import write_result
from benchmarks.first_games import ACTORS, FIRST_SEED
from tests.reference.client import reference_python, why_no_reference
from tests.reference.real import REAL_GAMES

SIZES = (64, 128, 140)
VALIDATIONS = 200
RESET_EVERY = 12
"""Of the actors with env.seed=0, one in so many really loads its game, to check that seeding alone chooses the same."""
AGENT = ("policy.noise=0.5", "policy.noise_episodes=1", "env.max_steps=30")


def first_games(validations: int) -> dict[str, Any]:
    """Ask the reference which games its actors play; see `first_games.py`."""
    stride, most = 1000, max(SIZES)
    request = {
        "reset": list(range(FIRST_SEED, FIRST_SEED + most))[::RESET_EVERY],
        "seed": [stride * v + FIRST_SEED + i for v in range(validations) for i in range(most)],
        "orders": list(range(validations)),
    }
    done = subprocess.run(
        [str(reference_python()), str(Path(__file__).with_name("first_games.py")), str(REAL_GAMES.parent)],
        input=json.dumps(request), capture_output=True, text=True, check=True, timeout=1800,
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout)
    chosen = answer.pop("seed")
    answer["panels"] = [chosen[most * v : most * (v + 1)] for v in range(validations)]
    return answer


def outcomes(plays: int) -> dict[str, list[bool]]:
    """Play every valid_seen game `plays` times; return who won by game id."""
    words = [f"games.source={REAL_GAMES.parent}", "games.split=valid_seen", f"repeats={plays}", *AGENT]
    with tempfile.TemporaryDirectory() as folder:
        job = start_evaluation(build_config(EvaluateConfig, words), Path(folder), name="agent")
        with job.run:
            evaluate(job)
        result = read_result(job.run.path)
    return {game: list(won) for by_game in result.outcomes.values() for game, won in by_game.items()}


def spread(results: Sequence[float]) -> dict[str, float]:
    """Mean, standard deviation and the middle 95 % of some success rates, in percent."""
    ordered = sorted(100 * result for result in results)
    cut = len(ordered) // 40
    return {
        "mean": round(statistics.fmean(ordered), 2),
        "sd": round(statistics.pstdev(ordered), 2),
        "low_95": round(ordered[cut], 1),
        "high_95": round(ordered[-1 - cut], 1),
        "lowest": round(ordered[0], 1),
        "highest": round(ordered[-1], 1),
    }


def measure(panels: Sequence[Sequence[int]], table: Sequence[Sequence[bool]], rng: random.Random) -> dict[str, Any]:
    """What validations of these panels report: with the luck of each play, and with each game's own rate instead."""
    rates = [statistics.fmean(won) for won in table]
    return {
        "games_played": round(statistics.fmean(len(set(panel)) for panel in panels), 1),
        "result": spread([statistics.fmean(rng.choice(table[game]) for game in panel) for panel in panels]),
        "without_luck": spread([statistics.fmean(rates[game] for game in panel) for panel in panels]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plays", type=int, default=8, help="plays of each game by the agent")
    arguments = parser.parse_args()
    if reason := why_no_reference():
        raise SystemExit(reason)
    found = first_games(VALIDATIONS)
    assert found["reset"] == found["panels"][0][::RESET_EVERY], "seeding alone chooses other games than whole resets"
    played = outcomes(arguments.plays)
    table = [played["/".join(game.split("/")[-2:])] for game in found["games"]]
    rng = random.Random(0)
    every = [range(len(table))] * VALIDATIONS
    result = {
        "split": "valid_seen",
        "games": len(table),
        "agent": {"options": list(AGENT), "plays_of_each_game": arguments.plays},
        "validations": VALIDATIONS,
        "games_played_with_env_seed_0": {str(n): len(set(found["panels"][0][:n])) for n in SIZES},
        "other_env_seeds": {str(n): measure([panel[:n] for panel in found["panels"]], table, rng) for n in SIZES},
        f"other_file_orders_with_{ACTORS}_actors_and_env_seed_0": measure(found["orders"], table, rng),
        "every_game_once": measure(every, table, rng),
        "wins_by_game": {game: sum(won) for game, won in sorted(played.items())},
        "versions": {"numpy": found["numpy"], "alfworld": "0.4.2", "textworld": "1.7.0"},
        "load": round(os.getloadavg()[0], 1),
    }
    print(json.dumps({key: value for key, value in result.items() if key != "wins_by_game"}, indent=2))
    if arguments.plays >= parser.get_default("plays"):
        print(write_result("validation_panels", result))


if __name__ == "__main__":
    main()
