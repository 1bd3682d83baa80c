"""How long it takes to list the train split: our index, first and second time, beside what the reference does.

The split is made of the real games in ../shared/alfworld_data, linked again and again under new trial names until
there are 3,553 (the size of the published split; links, so all of it is in the page cache for both). The reference's
way (`AlfredTWEnv.collect_game_files`): os.walk, then json.load of every traj_data.json and game.tw-pddl.

    python -m benchmarks.games_index [--games 3553]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from alfworld_sft.games import find_games
from benchmarks._result import write_result

REAL_GAMES = Path(__file__).parents[2] / "shared" / "alfworld_data" / "json_2.1.1" / "valid_train"
FILES = ("game.tw-pddl", "traj_data.json")
OURS = "from alfworld_sft.games import find_games; import sys; print(len(find_games(sys.argv[1], 'train')))"


def make_split(root: Path, games: int) -> None:
    """Link the real trials, numbered anew, until there are `games` of them."""
    originals = root / "originals"
    shutil.copytree(REAL_GAMES, originals, copy_function=shutil.copyfile)
    trials = sorted(path.parent for path in originals.rglob("game.tw-pddl"))
    for number, trial in zip(range(games), itertools.cycle(trials), strict=False):
        copy = root / "json_2.1.1" / "train" / trial.parent.name / f"{trial.name}_{number:04d}"
        copy.mkdir(parents=True)
        for name in FILES:
            (copy / name).hardlink_to(trial / name)


def naive_listing(split: Path) -> int:
    """List the games as the reference does, without its progress bar."""
    found = []
    for folder, _, files in os.walk(split, topdown=False):
        if "traj_data.json" in files and "movable" not in folder and "Sliced" not in folder:
            json.loads((Path(folder) / "traj_data.json").read_text())
            game = Path(folder) / "game.tw-pddl"
            if game.exists() and json.loads(game.read_text()).get("solvable"):
                found.append(game)
    return len(found)


def timed_find(root: Path, cache: Path, games: int) -> tuple[float, float]:
    """Time one listing within this process, then one whole process that imports, lists and ends."""
    start = time.perf_counter()
    found = len(find_games(root, "train"))
    inside_s = time.perf_counter() - start
    start = time.perf_counter()
    command = [sys.executable, "-c", OURS, str(root)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ).stdout
    process_s = time.perf_counter() - start
    if not found == int(printed) == games:
        raise SystemExit(f"{found} and {printed} games listed, not {games}; cache {cache}")
    return inside_s, process_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--games", type=int, default=3553)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder) / "data", Path(folder) / "cache"
        os.environ["ALFWORLD_SFT_CACHE_DIR"] = str(cache)
        make_split(root, options.games)
        start = time.perf_counter()
        naive = naive_listing(root / "json_2.1.1" / "train")
        naive_s = time.perf_counter() - start
        first_s, _ = timed_find(root, cache, options.games)
        again = [timed_find(root, cache, options.games) for _ in range(options.repeats)]
    result = {
        "games": options.games,
        "naive_games": naive,
        "naive_s": round(naive_s, 3),
        "first_s": round(first_s, 3),
        "second_s": round(statistics.median(inside for inside, _ in again), 3),
        "second_worst_s": round(max(inside for inside, _ in again), 3),
        "second_whole_process_s": round(statistics.median(process for _, process in again), 3),
        "repeats": options.repeats,
        "note": "files in the page cache; hard links to 200 real games",
    }
    print(json.dumps(result, indent=2))
    write_result("games_index", result)


if __name__ == "__main__":
    main()
