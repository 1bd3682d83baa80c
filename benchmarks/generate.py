"""How fast are games made? As files, straight from the embedded set, and as a stream with the expert; on one core.

    python -m benchmarks.generate [--games N]          # writes benchmarks/results/generate.json

Times are those of the process's CPU; wall times stand beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alfworld_sft.games import GameStream, find_games
from alfworld_sft.games.generator.generate import SPLITS
from alfworld_sft.games.generator.write import divide, write_games
from alfworld_sft.policies.expert.expert import Expert
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.rollout import Protocol
from alfworld_sft.runs.runner import run_episodes
from alfworld_sft.runs.store import create_run
from benchmarks._result import peak_mib, write_result


def timed(work: Callable[[], None], number: int) -> dict[str, Any]:
    """Run once; how many a second, by CPU time and by wall time."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"number": number, "per_second_cpu": round(number / cpu, 1), "per_second_wall": round(number / wall, 1)}


def files(number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_games(Path(folder) / "games", divide(number, SPLITS), seed=0)


def stream(number: int) -> None:
    with tempfile.TemporaryDirectory() as folder, create_run(Path(folder), {}, name="run") as run:
        asyncio.run(
            run_episodes(
                run,
                number,
                GameStream(0),
                Expert(),
                load_template("default"),
                Protocol(),
                seed=0,
                concurrency=64,
                on_episode=lambda _: None,
            )
        )


def embedded() -> None:
    for ref in find_games("embedded"):
        ref.load()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--games", type=int, default=3000)
    options = parser.parse_args()
    stream(50)
    early = round(peak_mib(), 1)
    result = {
        "stream_with_expert": timed(lambda: stream(options.games), options.games),
        "memory_mib": {"after_50_episodes": early, "after_all": round(peak_mib(), 1)},
        "files": timed(lambda: files(options.games), options.games),
        "embedded_loads": timed(embedded, len(find_games("embedded"))),
    }
    print(result)
    print(write_result("generate", result).name)


if __name__ == "__main__":
    main()
