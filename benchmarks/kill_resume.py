"""Does a run that is killed at 50 random moments end in the same bytes as an undisturbed one?

Claim: no episode lost, none twice, all files equal. The undisturbed run is the peer. SIGKILL comes at moments drawn
over the whole of a run: start-up, play, and the writing of the dataset.

    python -m benchmarks.kill_resume --data ../shared/alfworld_data --kills 50
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from alfworld_sft.dataset.write import DATA_FILES
from alfworld_sft.files import sha256_of
from benchmarks._result import write_result

COMMAND = [sys.executable, "-m", "alfworld_sft", "collect"]


def main() -> None:
    """Kill, resume, compare, print and write the result; exits with 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=None, help="data folder; default: $ALFWORLD_DATA or the embedded games")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--episodes", type=int, default=4000)
    options = parser.parse_args()
    overrides = [f"num_episodes={options.episodes}", "prompt.template=add_wm1", "policy.noise=0.1", "seed=7"]
    overrides += [f"games.source={options.data}"] if options.data else []
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, killed = Path(folder, "undisturbed"), Path(folder, "killed")
        started = time.monotonic()
        subprocess.run(new_run(undisturbed, overrides), check=True, capture_output=True)
        duration_s = time.monotonic() - started
        phases = disturb(killed, overrides, options.kills, duration_s)
        subprocess.run([*COMMAND, "--resume", str(killed)], check=True, capture_output=True)
        equal = {name: sha256_of(undisturbed / name) == sha256_of(killed / name) for name in (*DATA_FILES, "README.md")}
        indices = [json.loads(line)["index"] for line in (killed / "episodes.jsonl").read_bytes().splitlines()]
    result = {
        "kills": sum(phases.values()),
        "killed while": phases,
        "episodes": options.episodes,
        "lost": options.episodes - len(set(indices)),
        "twice": len(indices) - len(set(indices)),
        "files equal": equal,
        "undisturbed_s": round(duration_s, 1),
    }
    print(json.dumps(result, indent=2))
    write_result("kill_resume", result)
    sys.exit(not (all(equal.values()) and len(indices) == len(set(indices)) == options.episodes))


def disturb(folder: Path, overrides: list[str], kills: int, duration_s: float) -> dict[str, int]:
    """Start or resume the run and kill it, until it was killed `kills` times; return in which phase it was."""
    rng = random.Random(1)
    phases = {"starting": 0, "playing": 0, "writing the dataset": 0}
    while sum(phases.values()) < kills:
        words = [*COMMAND, "--resume", str(folder)] if folder.exists() else new_run(folder, overrides)
        size = journal_size(folder)
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Early kills leave much to play; later ones reach the writing.
        time.sleep(rng.uniform(0.1, duration_s * (0.15 if sum(phases.values()) < kills * 0.6 else 0.8)))
        process.send_signal(signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            continue
        writing = any(folder.glob("*.partial"))
        phases["writing the dataset" if writing else "playing" if journal_size(folder) > size else "starting"] += 1
    return phases


def new_run(folder: Path, overrides: list[str]) -> list[str]:
    """Return the command that starts a run with this folder."""
    return [*COMMAND, "--output-dir", str(folder.parent), "--name", folder.name, *overrides]


def journal_size(folder: Path) -> int:
    """Return the bytes in the journal, 0 before there is one."""
    journal = folder / "episodes.jsonl"
    return journal.stat().st_size if journal.exists() else 0


if __name__ == "__main__":
    main()
