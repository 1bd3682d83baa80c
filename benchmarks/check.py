"""How long `alfworld-sft check` takes on a run of 20,000 episodes: every step replayed, every row read in both forms.

The run is collected first, from the real games in ../shared/alfworld_data, or named with --run. No peer replays its
data, so there is no ratio: the claim is a minute. Wall time depends on what else the machine does; CPU seconds of all
processes are beside it.

    python -m benchmarks.check [--episodes 20000] [--run DIR]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._result import write_result

GAMES = Path(__file__).parents[2] / "shared" / "alfworld_data"


def collect(folder: Path, episodes: int) -> Path:
    """Collect a run with some deliberate mistakes in it."""
    options = [f"num_episodes={episodes}", f"games.source={GAMES}", "policy.noise=0.1"]
    words = ["collect", "--output-dir", str(folder), "--name", "run", *options]
    subprocess.run([sys.executable, "-m", "alfworld_sft", *words], check=True, capture_output=True)
    return folder / "run"


def timed_check(run: Path) -> dict[str, object]:
    """Check a run as a user would, in a process of its own; returns the figures and the seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "alfworld_sft", "check", str(run), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    told = json.loads(done.stdout)
    replay = next(section for section in told["sections"] if section["name"] == "replay")
    return {
        "ok": told["ok"],
        **{name: replay[name] for name in ("episodes", "replayed", "steps", "wrong")},
        "wall_s": round(wall_s, 1),
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "peak_process_mib": round(after.ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=20_000)
    parser.add_argument("--run", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = timed_check(options.run or collect(Path(folder), options.episodes))
    print(json.dumps(result, indent=2))
    write_result("check", result)


if __name__ == "__main__":
    main()
