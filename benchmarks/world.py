"""How fast is our world beside the reference, and how much memory do many games need?

    python -m benchmarks.world                  # writes benchmarks/results/world.json

Both play the same commands in the same games in one run. *Load* is from a file's path to an environment that can be
reset, *reset* the first observation, *step* one command; reset and step make the list of admissible commands. Times are
CPU seconds, so that other work on the machine does not count: medians over repetitions, then means over games. Our
world may keep what it has worked out, so `first_reset` and `first_steps` are those on a game just loaded, `reset` and
`step` those on a game that has been played before.

Memory is measured in a process of its own: all games loaded, many environments of them reset and played for a while.
"""

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from time import process_time
from typing import Any

from alfworld_sft.world import Env, load_game
from benchmarks._result import peak_mib, write_result
from tests.reference.client import Reference, why_no_reference
from tests.reference.facts import read_facts
from tests.reference.real import REAL_GAMES, REPOSITORY, game_files, game_id, sample
from tests.reference.transcripts import record

TARGETS = {"load": 300, "first_reset": 10_000, "reset": 10_000, "first_steps": 10_000, "step": 10_000}
MEMORY_TARGET_MIB = 1024
ENDLESS = 10**9
REFERENCE_REPEATS = 3
OUR_REPEATS = 30
STEPS_BEFORE_MEMORY = 20


@dataclass(frozen=True)
class Times:
    """CPU seconds for one load, one reset, one step; the reference keeps nothing, so its first times are its times."""

    load: float
    first_reset: float
    reset: float
    first_steps: float
    step: float


def main() -> int:
    """Measure, print, write."""
    options = read_options()
    if options.memory:
        print(json.dumps(memory_of(game_files(options.data), options.environments)))
        return 0
    paths = game_files(options.data)
    why = why_no_reference() or (None if paths else f"no game.tw-pddl below {options.data}")
    if why:
        sys.exit(why)
    games = []
    with Reference() as reference:
        for path in sample(paths, options.per_type):
            games.append(measure_game(reference, path, options))
            print(json.dumps(games[-1]), file=sys.stderr)
        versions = reference.versions
    memory = measure_memory(options)
    speed = summary(games)
    for name, row in speed.items():
        print(
            f"{name:12} reference {row['reference_s'] * 1e3:7.2f} ms   ours {row['ours_s'] * 1e6:7.1f} µs   "
            f"{row['ratio']:7.0f}x   worst game {row['worst_ratio']:7.0f}x   target {TARGETS[name]}x"
        )
    print(f"memory {memory['peak_mib']} MiB for {memory['environments']} environments, target {MEMORY_TARGET_MIB} MiB")
    result = {
        "speed": speed,
        "targets": {name: f">= {ratio}x" for name, ratio in TARGETS.items()} | {"memory": f"< {MEMORY_TARGET_MIB} MiB"},
        "memory": memory,
        "steps_a_game": options.steps,
        "repeats": {"reference": REFERENCE_REPEATS, "ours": OUR_REPEATS},
        "games": games,
        "versions": versions,
    }
    print(write_result("world", result).relative_to(REPOSITORY))
    return 0


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=REAL_GAMES, help="folder with the real games")
    parser.add_argument("--per-type", type=int, default=2, help="games of each task type (default 2)")
    parser.add_argument("--steps", type=int, default=40, help="commands a game (default 40)")
    parser.add_argument("--environments", type=int, default=10_000, help="environments held at once (default 10000)")
    parser.add_argument("--memory", action="store_true", help="measure memory only, and print it as JSON")
    return parser.parse_args()


def measure_game(reference: Reference, path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The times of both worlds in one game."""
    turns = record(reference, path, read_facts(path), seed=path.parent.name, steps=options.steps, goal_first=True)
    commands = [turn.command for turn in turns[1:]]
    theirs = median_times([reference_times(reference, path, commands) for _ in range(REFERENCE_REPEATS)])
    ours = median_times([our_times(path, commands) for _ in range(OUR_REPEATS)])
    seconds = {name: {"reference_s": getattr(theirs, name), "ours_s": getattr(ours, name)} for name in TARGETS}
    return {"game": game_id(path, options.data), **seconds}


def reference_times(reference: Reference, path: Path, commands: list[str]) -> Times:
    """The reference's times, measured inside its process: pipes and JSON do not count."""
    reference.load(path)
    load = reference.seconds
    reference.reset()
    reset = reference.seconds
    spent = 0.0
    for command in commands:
        reference.step(command)
        spent += reference.seconds
    step = spent / len(commands)
    return Times(load, reset, reset, step, step)


def our_times(path: Path, commands: list[str]) -> Times:
    """Our times on a game just loaded, and on the same game again."""
    load, env = timed(lambda: Env(load_game(path), max_steps=ENDLESS))
    first_reset, _ = timed(env.reset)
    first_steps, _ = timed(lambda: play(env, commands))
    reset, _ = timed(env.reset)
    steps, _ = timed(lambda: play(env, commands))
    return Times(load, first_reset, reset, first_steps / len(commands), steps / len(commands))


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds and result of one call."""
    started = process_time()
    result = call()
    return process_time() - started, result


def play(env: Env, commands: list[str]) -> int:
    """Play the commands and touch what each gives; the number of admissible commands seen."""
    seen = 0
    for command in commands:
        seen += len(env.step(command).admissible_commands)
    return seen


def median_times(times: list[Times]) -> Times:
    """The median of each time."""
    return Times(*(median(getattr(one, name) for one in times) for name in TARGETS))


def summary(games: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Means over the games, and how many times faster ours are."""
    rows = {}
    for name in TARGETS:
        reference = fmean(game[name]["reference_s"] for game in games)
        ours = fmean(game[name]["ours_s"] for game in games)
        worst = min(game[name]["reference_s"] / game[name]["ours_s"] for game in games)
        rows[name] = {"reference_s": reference, "ours_s": ours, "ratio": reference / ours, "worst_ratio": worst}
    return rows


def measure_memory(options: argparse.Namespace) -> dict[str, object]:
    """`memory_of` in a fresh process, where nothing else has used memory."""
    command = [sys.executable, "-m", "benchmarks.world", "--memory"]
    command += ["--data", str(options.data.resolve()), "--environments", str(options.environments)]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def memory_of(paths: list[Path], environments: int) -> dict[str, object]:
    """Peak memory of this process with every game loaded and so many environments reset and played."""
    before = peak_mib()
    games = [load_game(path) for path in paths]
    loaded = peak_mib()
    envs = [Env(games[number % len(games)]) for number in range(environments)]
    rng = random.Random(0)
    latest = [env.reset() for env in envs]
    started = process_time()
    for _ in range(STEPS_BEFORE_MEMORY):
        latest = [
            env.step(rng.choice(observation.admissible_commands)) for env, observation in zip(envs, latest, strict=True)
        ]
    seconds = process_time() - started
    return {
        "games": len(games),
        "environments": len(latest),
        "steps_each": STEPS_BEFORE_MEMORY,
        "steps_per_s": round(len(latest) * STEPS_BEFORE_MEMORY / seconds),
        "start_mib": round(before),
        "games_loaded_mib": round(loaded),
        "peak_mib": round(peak_mib()),
    }


if __name__ == "__main__":
    sys.exit(main())
