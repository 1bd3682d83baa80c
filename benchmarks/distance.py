"""How many distances to the goal does one core compute in a second, over the states that episodes meet?

    python -m benchmarks.distance               # writes benchmarks/results/distance.json

On the 340 real games, 50 steps: the states of random, expert and noisy episodes (30 % deliberate mistakes), each asked
once in the order played. `cold` starts with nothing remembered, `again` asks a second time, as a group of episodes of
one game would. Beside it a breadth-first search over all admissible commands, on the states at most `--depth` commands
from the goal: others have no distance at all, so the obvious search is the peer. Times are CPU seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from time import process_time

from alfworld_sft.policies.base import Policy
from alfworld_sft.policies.expert.expert import Expert
from alfworld_sft.policies.random_player import RandomPlayer
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.rollout import Protocol, run_episode
from alfworld_sft.world import Env, Game, load_game
from alfworld_sft.world.distance import distance
from alfworld_sft.world.game import State
from benchmarks._result import write_result
from tests.reference.real import REAL_GAMES, REPOSITORY, game_files
from tests.world.brute_force import shortest_length

TARGET = 5_000
POLICIES: dict[str, Policy] = {"random": RandomPlayer(), "expert": Expert(), "noisy": Expert(noise=0.3)}
BRUTE_FORCE_STATES = 20


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=REAL_GAMES, help="folder with the real games")
    parser.add_argument("--depth", type=int, default=3, help="how near the goal brute force starts (default 3)")
    options = parser.parse_args()
    games = [load_game(path) for path in game_files(options.data)]
    if not games:
        sys.exit(f"no game.tw-pddl below {options.data}")
    states = {name: [pair for game in games for pair in states_of(game, policy)] for name, policy in POLICIES.items()}
    rows = {name: measure(pairs) for name, pairs in states.items()}
    brute_force = compare(states["expert"], options.depth)
    for name, row in rows.items():
        print(
            f"{name:8} {row['states']:6,} states   cold {row['cold_per_second']:9,.0f}/s   "
            f"again {row['again_per_second']:9,.0f}/s   {row['cannot_be_won']} cannot be won   target {TARGET:,}/s"
        )
    print(f"brute force, {options.depth} from the goal: {brute_force['ratio']:,.0f} times as slow; the same distances")
    result = {"games": len(games), "target_per_second": TARGET, "states_of": rows, "brute_force": brute_force}
    print(write_result("distance", result).relative_to(REPOSITORY))
    return 0


def states_of(game: Game, policy: Policy) -> list[tuple[Game, State]]:
    """The states of one episode, the start included."""
    episode = asyncio.run(run_episode(game, policy, load_template("default"), Protocol(), seed=1))
    env = Env(game)
    env.reset()
    states = [env.game_state]
    for step in episode.steps:
        env.step(step.command)
        states.append(env.game_state)
    return [(game, state) for state in states]


def measure(pairs: Sequence[tuple[Game, State]]) -> dict[str, float]:
    """The distances a second, first with nothing remembered."""
    for game, _ in pairs:
        game.distance_cache.clear()
    cold, found = timed(pairs)
    again, _ = timed(pairs)
    return {
        "states": len(pairs),
        "cannot_be_won": found.count(None),
        "cold_per_second": round(len(pairs) / cold),
        "again_per_second": round(len(pairs) / again),
    }


def timed(pairs: Sequence[tuple[Game, State]]) -> tuple[float, list[int | None]]:
    """CPU seconds, and the distances."""
    start = process_time()
    found = [distance(game, state) for game, state in pairs]
    return process_time() - start, found


def compare(pairs: Sequence[tuple[Game, State]], depth: int) -> dict[str, float]:
    """Both ways on the same states; exits where they differ."""
    near = [pair for pair in pairs if distance(*pair) == depth][:BRUTE_FORCE_STATES]
    for game, _ in near:
        game.distance_cache.clear()
    ours, found = timed(near)
    start = process_time()
    brute = [shortest_length(game, state, depth) for game, state in near]
    theirs = process_time() - start
    if brute != found:
        sys.exit(f"brute force finds {brute}, we {found}")
    return {
        "depth": depth,
        "states": len(near),
        "ours_s": ours / len(near),
        "brute_force_s": theirs / len(near),
        "ratio": theirs / ours,
    }


if __name__ == "__main__":
    raise SystemExit(main())
