"""Does the drop-in say what alfworld 0.4.2 and textworld 1.7.0 say?

    python -m benchmarks.dropin_parity WORK [--seconds N]     # writes benchmarks/results/dropin_parity.json

One program, tests/integrations/alfworld/driver.py, plays the same scenarios under both: seeds 0, 1 and 1000-1015, batch
sizes 1 and 4, three splits, dqn and dagger, commands of the expert, at random and invalid ones, skips, and steps beyond
the end of the games; then games through textworld.gym and textworld.start in the ways of other frameworks. All texts,
commands, scores, dones, infos and types are compared, the expert's plans and the facts among them.

The reference takes hours on a small machine. What it said is kept in WORK, and a second call goes on after it;
`--seconds` ends this call early. The real games at hand have no valid_unseen: eval_out_of_distribution plays generated
ones.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from alfworld_sft.games.generator.write import write_games
from alfworld_sft.integrations.alfworld.shim import write_shim
from benchmarks._result import write_result
from tests.integrations.alfworld import scenarios
from tests.reference.client import reference_python
from tests.reference.real import REAL_GAMES, game_files, sample

UNSEEN_GAMES = 12


def main() -> int:
    """Play, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path, help="what is kept between calls")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="play the reference for at most so long")
    options = parser.parse_args()
    planned = plan(prepare(options.work))
    said = options.work / "reference.jsonl"
    play_reference(planned, said, options.seconds)
    theirs = dict(scenarios.read_said(said)) if said.exists() else {}
    played = [scenario for scenario in planned if scenario["name"] in theirs]
    ours = play_ours(played, options.work)
    result = summary(planned, played, theirs, ours)
    print(json.dumps(result, indent=2))
    print("written to", write_result("dropin_parity", result))
    return 1 if result["differences"] else 0


def prepare(work: Path) -> Path:
    """Make the shim and a data folder of real and generated games; its path."""
    data = work / "data"
    if not data.is_dir():
        write_games(work / "generated", {"valid_unseen": UNSEEN_GAMES}, 0)
        data.mkdir()
        for split, source in (("valid_train", REAL_GAMES), ("valid_seen", REAL_GAMES)):
            (data / split).symlink_to((source / split).resolve())
        (data / "valid_unseen").symlink_to((work / "generated" / "json_2.1.1" / "valid_unseen").resolve())
    write_shim(work / "shim")
    return data.absolute()


def plan(data: Path) -> list[dict[str, Any]]:
    """All scenarios; the batch sizes take turns, so that a call that ends early has played both."""
    files = scenarios.file_scenarios(sample(game_files(REAL_GAMES / "valid_seen"), 2))
    splits = list(scenarios.split_scenarios(data, scenarios.SEEDS))
    half = len(splits) // 2
    turns = zip(splits[:half], splits[half:], strict=True)
    return [*(scenario for pair in turns for scenario in pair), *files]


def play_reference(planned: list[dict[str, Any]], said: Path, seconds: float) -> None:
    """Play what the reference has not played yet, a process for each scenario."""
    until = time.monotonic() + seconds
    done = {name for name, _ in scenarios.read_said(said)} if said.exists() else set()
    asked = said.with_name("scenario.json")
    for scenario in planned:
        if scenario["name"] in done:
            continue
        asked.write_text(json.dumps([scenario]), encoding="utf-8")
        command = [str(reference_python()), str(scenarios.DRIVER), str(asked), str(said)]
        env = os.environ | {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
        try:
            left = None if seconds == float("inf") else max(0.0, until - time.monotonic())
            subprocess.run(
                command, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=left
            )
        except subprocess.TimeoutExpired:
            return


def play_ours(played: list[dict[str, Any]], work: Path) -> dict[str, Any]:
    """What the drop-in says, a process for each scenario as well: environments are numbered as they are made."""
    said: dict[str, Any] = {}
    for scenario in played:
        said |= scenarios.play(sys.executable, [scenario], work / "ours", work / "shim")
    return said


def summary(
    planned: list[dict[str, Any]], played: list[dict[str, Any]], theirs: dict[str, Any], ours: dict[str, Any]
) -> dict[str, Any]:
    """Counts of what was compared, and every difference."""
    events: Counter[str] = Counter()
    for scenario in played:
        games = scenario.get("batch", 1)
        for event in theirs[scenario["name"]]:
            events["episodes" if event[0] == "reset" else "steps"] += games if event[0] in ("reset", "step") else 0
    differences = {
        name: difference
        for name, said in theirs.items()
        if (difference := scenarios.first_difference(said, ours[name]))
    }
    return {
        "scenarios": {"planned": len(planned), "played": len(played), "equal": len(played) - len(differences)},
        "seeds": sorted({scenario["seed"] for scenario in played if "seed" in scenario}),
        "episodes": events["episodes"],
        "steps": events["steps"],
        "differences": differences,
        "versions": {"alfworld": "0.4.2", "textworld": "1.7.0"},
    }


if __name__ == "__main__":
    sys.exit(main())
