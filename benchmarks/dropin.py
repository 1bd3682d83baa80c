"""How fast and how small is the drop-in beside alfworld and textworld?

    python -m benchmarks.dropin                 # writes benchmarks/results/dropin.json

*Start-up* is AlfredTWEnv on a training split of 3,553 games (copies of the real ones), the first time and, ours alone,
again. *Memory* is the proportional size of all processes of 256 environments of ours, reset and played for some steps,
and of 4 of the reference's, which has a process for each; the ratio is by environment. *Steps* are commands a CPU
second. Both run the same program, each in its own process; CPU seconds are those of the process and its children.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from alfworld_sft.integrations.alfworld.shim import write_shim
from benchmarks._result import write_result
from tests.integrations.alfworld.scenarios import config_for
from tests.reference.client import reference_python
from tests.reference.real import REAL_GAMES, REPOSITORY, game_files

TRAIN_GAMES = 3553
TARGET_MIB = 300
TARGET_SPEEDUP = 1000
PROGRAM = '''
import json, os, resource, sys, time
from alfworld.agents.environment import get_environment

def cpu():
    return sum(os.times()[:4])

def memory_kib(pid):
    """Proportional size: what processes share counts once."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))

def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]

def live_cpu():
    ticks = 0
    for pid in children(os.getpid()):
        fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return cpu() + ticks / os.sysconf("SC_CLK_TCK")

config, job = json.loads(sys.argv[1]), json.loads(sys.argv[2])
began, wall = cpu(), time.monotonic()
made = get_environment("AlfredTWEnv")(config, train_eval=job["split"])
found = {"games": made.num_games, "start_cpu_s": cpu() - began, "start_wall_s": time.monotonic() - wall}
if job["batch"]:
    env = made.init_env(batch_size=job["batch"])
    began = live_cpu()
    _, infos = env.reset()
    found["reset_cpu_s"] = live_cpu() - began
    began = live_cpu()
    for number in range(job["steps"]):
        offered = infos["admissible_commands"]
        _, _, _, infos = env.step([commands[number * 7 % len(commands)] for commands in offered])
    found["steps"] = job["steps"] * job["batch"]
    found["steps_cpu_s"] = live_cpu() - began
    pids = [os.getpid(), *children(os.getpid())]
    found["memory_mib"] = sum(map(memory_kib, pids)) / 1024
    found["processes"] = len(pids)
print("RESULT " + json.dumps(found))
sys.stdout.flush()
os._exit(0)
'''


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--environments", type=int, default=256, help="ours, at once")
    parser.add_argument("--reference-environments", type=int, default=4, help="the reference's, at once")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        result = measure(Path(work), options.environments, options.reference_environments)
    print(json.dumps(result, indent=2))
    print("written to", write_result("dropin", result))
    return 0 if result["memory_met"] and result["speed_met"] else 1


def measure(work: Path, environments: int, reference_environments: int) -> dict[str, Any]:
    """Run the program under both."""
    write_shim(work / "shim")
    config = config_for(copies(work / "data"), "dqn")
    config["rl"]["training"]["max_nb_steps_per_episode"] = 50
    start = {"split": "train", "batch": 0}
    few = {"split": "eval_in_distribution", "batch": reference_environments, "steps": 5}
    many = {"split": "eval_in_distribution", "batch": environments, "steps": 40}
    theirs = {"start": run(work, config, start, ours=False), "play": run(work, config, few, ours=False)}
    ours = {
        "start": run(work, config, start, ours=True),
        "start_again": run(work, config, start, ours=True),
        "play": run(work, config, few | {"steps": 40}, ours=True),
        "many": run(work, config, many, ours=True),
    }
    speedup = rate(ours["many"]) / rate(theirs["play"])
    return {
        "reference": theirs,
        "ours": ours,
        "ratios": {
            "start": theirs["start"]["start_cpu_s"] / ours["start"]["start_cpu_s"],
            "start_again": theirs["start"]["start_cpu_s"] / ours["start_again"]["start_cpu_s"],
            "steps_per_cpu_second": speedup,
            "memory_per_environment": (theirs["play"]["memory_mib"] / reference_environments)
            / (ours["many"]["memory_mib"] / environments),
        },
        "memory_met": ours["many"]["memory_mib"] < TARGET_MIB,
        "speed_met": speedup >= TARGET_SPEEDUP,
        "targets": {"memory_mib": TARGET_MIB, "speedup": TARGET_SPEEDUP},
        "versions": {"alfworld": "0.4.2", "textworld": "1.7.0"},
    }


def rate(played: dict[str, Any]) -> float:
    """Steps a CPU second."""
    return float(played["steps"] / played["steps_cpu_s"])


def copies(data: Path) -> Path:
    """A data folder whose training split has as many games as the published one: the real files, linked."""
    train = [path for path in game_files(REAL_GAMES) if "valid_train" in path.parts]
    for number in range(TRAIN_GAMES):
        source = train[number % len(train)].parent
        trial = data / "valid_train" / source.parent.name / f"{source.name}_{number}"
        trial.mkdir(parents=True)
        for file in source.iterdir():
            os.link(file, trial / file.name) if _same_device(file, data) else (trial / file.name).symlink_to(file)
    (data / "valid_seen").symlink_to(REAL_GAMES / "valid_seen")
    return data


def _same_device(file: Path, folder: Path) -> bool:
    return file.stat().st_dev == folder.stat().st_dev


def run(work: Path, config: dict[str, Any], job: dict[str, Any], *, ours: bool) -> dict[str, Any]:
    """Run the program with one of the two; what it found."""
    python = sys.executable if ours else str(reference_python())
    paths = [str(work / "shim"), str(REPOSITORY / "src")] if ours else []
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "ALFWORLD_SFT_CACHE_DIR": str(work / "cache")}
    command = [python, "-c", PROGRAM, json.dumps(config), json.dumps(job)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    return dict(json.loads(line.removeprefix("RESULT ")))


if __name__ == "__main__":
    sys.exit(main())
