"""How fast is a dataset collected, and in how much memory?

Claims: 20,000 episodes are played and written at 150 episodes/s or more on one core, in flat memory below 1 GiB. The
peer, in the same run, is the reference environment (`alfworld` 0.4.2) played by its own handcoded expert on the same
games, without writing anything; it runs where its interpreter is found (`scripts/make_reference_env.sh`).

    python -m benchmarks.collect --data ../shared/alfworld_data --episodes 20000 --peer-games 12
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

from alfworld_sft.games import find_games
from benchmarks._result import versions_of, write_result

REPOSITORY = Path(__file__).parents[1]
PEER = Path(__file__).with_name("peer_expert.py")
SAMPLE_INTERVAL_S = 0.5


def main() -> None:
    """Collect once, play the peer, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=None, help="data folder; default: $ALFWORLD_DATA or the embedded games")
    parser.add_argument("--episodes", type=int, default=20_000)
    parser.add_argument("--peer-games", type=int, default=12)
    options = parser.parse_args()
    ours = collect(options.data, options.episodes)
    refs = map(find_games(options.data).shuffled(seed=42).ref, range(options.peer_games))
    peer = play_peer([ref.path for ref in refs if ref.path])
    ratio = round(ours["episodes_per_s"] / peer["episodes_per_s"]) if peer else None
    print(
        json.dumps({"ours": {k: v for k, v in ours.items() if k != "rss_mib"}, "peer": peer, "ratio": ratio}, indent=2)
    )
    write_result(
        "collect", {"ours": ours, "peer": peer, "ratio": ratio, "versions": versions_of("pyarrow", "pydantic")}
    )


def collect(data: str | None, episodes: int) -> dict[str, Any]:
    """Run the command on one core and watch its memory."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "alfworld_sft", "collect", "--output-dir", folder, "--name", "run"]
        words += [f"num_episodes={episodes}", "prompt.template=add_wm1", "policy.noise=0.1"]
        words += [f"games.source={data}"] if data else []
        started = time.monotonic()
        process = subprocess.Popen(["taskset", "-c", "0", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        memory: list[float] = []
        while process.poll() is None:
            memory.append(rss_mib(process.pid))
            time.sleep(SAMPLE_INTERVAL_S)
        duration_s = time.monotonic() - started
        if process.returncode:
            sys.exit(f"error: collect ended with exit code {process.returncode}")
        stamp = json.loads(Path(folder, "run", "run.json").read_bytes())
        size = sum(file.stat().st_size for file in Path(folder, "run").iterdir())
    memory = [sample for sample in memory if sample]
    return {
        "episodes": episodes,
        "won": stamp["counts"]["won"],
        "rows": stamp["counts"]["rows_train"] + stamp["counts"]["rows_val"],
        "duration_s": round(duration_s, 1),
        "episodes_per_s": round(episodes / duration_s, 1),
        "written_mib": round(size / 2**20),
        "peak_rss_mib": round(max(memory)),
        "rss_mib_by_tenth": [round(max(part)) for part in tenths(memory)],
    }


def tenths(samples: list[float]) -> list[list[float]]:
    """Cut the samples into ten parts, so that growth would show."""
    step = max(1, len(samples) // 10)
    return [samples[i : i + step] for i in range(0, step * 10, step) if samples[i : i + step]]


def rss_mib(pid: int) -> float:
    """Return a process's resident memory, 0 once it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    match = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(match[1]) / 1024 if match else 0.0


def play_peer(files: list[Path]) -> dict[str, Any] | None:
    """Let the reference play the same games with its own expert; None where there is no reference or no file."""
    python = os.environ.get("ALFWORLD_REFERENCE_PYTHON", str(REPOSITORY / ".venv-reference" / "bin" / "python"))
    if not files or not Path(python).exists():
        return None
    output = subprocess.run([python, str(PEER), "50", *map(str, files)], check=True, capture_output=True).stdout
    answers = [json.loads(line) for line in output.splitlines()]
    return {
        "environment": "alfworld 0.4.2 with its handcoded expert, no dataset written",
        "games": len(answers),
        "won": sum(answer["won"] for answer in answers),
        "mean_steps": round(mean(answer["steps"] for answer in answers), 1),
        "episodes_per_s": round(len(answers) / sum(answer["seconds"] for answer in answers), 4),
    }


if __name__ == "__main__":
    main()
