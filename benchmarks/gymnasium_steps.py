"""How many steps a second do our Gymnasium environments play, beside Gymnasium's own `SyncVectorEnv` of the same games?

    python -m benchmarks.gymnasium_steps        # writes benchmarks/results/gymnasium_steps.json

Two loops. *samples* is Gymnasium's `benchmark_step` and `benchmark_vector_step`: actions are texts drawn from the
action space, so most of the time goes into drawing them, and the game answers "Nothing happens.". *commands* plays
random admissible commands from the infos, as an agent would, and counts only the time within `step`. Seconds are the
CPU's, so that other work on the machine does not count: Gymnasium's loops are given that clock. Games are the embedded
ones, 50 steps at most, autoreset NEXT_STEP; in *commands* a step that resets counts as one of its environment.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from random import Random
from time import process_time
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import performance

from benchmarks._result import RESULTS, versions_of, write_result

ID = "alfworld_sft.integrations.gymnasium:ALFWorld-v0"
GAMES: dict[str, Any] = {"source": "embedded", "split": "valid_seen"}
NUMBERS = (1, 16, 256, 4096)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each measurement lasts (default 5)")
    seconds = parser.parse_args().seconds
    performance.time = SimpleNamespace(time=process_time)
    single = {
        "samples_per_second": round(performance.benchmark_step(gymnasium.make(ID, **GAMES), seconds, seed=0)),
        "commands_per_second": round(play_single(gymnasium.make(ID, **GAMES), seconds)),
    }
    print(f"gymnasium.make   samples {single['samples_per_second']:,}/s   commands {single['commands_per_second']:,}/s")
    rows = [measure(number, seconds) for number in NUMBERS]
    for row in rows:
        for what in ("samples", "commands"):
            speeds = row[what]
            print(
                f"{row['environments']:5,} environments, {what:8}   ours {speeds['ours']:9,}/s   "
                f"SyncVectorEnv {speeds['sync']:9,}/s   {speeds['ratio']:.1f} times"
            )
    result = {
        "seconds_each": seconds,
        "single": single,
        "vector": rows,
        "versions": versions_of("gymnasium", "numpy"),
    }
    print(write_result("gymnasium_steps", result).relative_to(RESULTS.parents[1]))
    return 0


def measure(number: int, seconds: float) -> dict[str, Any]:
    """Both loops for both vector environments of this many games."""
    loops: dict[str, Callable[[Any], float]] = {
        "samples": lambda env: performance.benchmark_vector_step(env, seconds, seed=0),
        "commands": lambda env: play_vector(env, seconds),
    }
    row: dict[str, Any] = {"environments": number}
    for what, loop in loops.items():
        speeds = {}
        for name, mode in (("ours", "vector_entry_point"), ("sync", "sync")):
            env = gymnasium.make_vec(ID, num_envs=number, vectorization_mode=mode, **GAMES)
            speeds[name] = loop(env)
            env.close()
        row[what] = {name: round(speed) for name, speed in speeds.items()} | {"ratio": speeds["ours"] / speeds["sync"]}
    return row


def play_single(env: gymnasium.Env[str, str], seconds: float) -> float:
    """Steps a CPU second of one environment with random admissible commands."""
    rng, steps, spent = Random(0), 0, 0.0
    _, info = env.reset(seed=0)
    while spent < seconds:
        command = rng.choice(info["admissible_commands"])
        start = process_time()
        _, _, terminated, truncated, info = env.step(command)
        spent += process_time() - start
        steps += 1
        if terminated or truncated:
            _, info = env.reset()
    return steps / spent


def play_vector(env: gymnasium.vector.VectorEnv[Any, Any, np.ndarray], seconds: float) -> float:
    """Steps a CPU second of all environments together with random admissible commands."""
    rng, steps, spent = Random(0), 0, 0.0
    _, infos = env.reset(seed=0)
    while spent < seconds:
        commands = [rng.choice(admissible) for admissible in infos["admissible_commands"]]
        start = process_time()
        *_, infos = env.step(commands)
        spent += process_time() - start
        steps += env.num_envs
    return steps / spent


if __name__ == "__main__":
    raise SystemExit(main())
