"""Which scenarios are played by both the real packages and the drop-in, and how are the two compared?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.integrations.data import config_for as data_config_for
from tests.reference.client import reference_python
from tests.reference.real import REPOSITORY, game_files, sample

DRIVER = Path(__file__).with_name("driver.py")
SPLITS = ("train", "eval_in_distribution", "eval_out_of_distribution")
SEEDS = (0, 1, *range(1000, 1016))
KINDS = ("expert", "invalid", "random")
LIMITS = {"dqn": 9, "dagger": 12}
BEYOND = 2
"""So many steps are played after the limit."""


def config_for(data: Path, method: str, expert: str = "handcoded", **env: Any) -> dict[str, Any]:
    """A config as ALFWorld's, with the published validation games and a folder of generated unseen ones."""
    config = data_config_for(data, method, expert, LIMITS["dqn"], **env)
    config["dataset"]["data_path"] = str(data / "valid_train")
    config["dagger"]["training"]["max_nb_steps_per_episode"] = LIMITS["dagger"]
    return config


def split_scenarios(data: Path, seeds: Iterable[int], batches: Iterable[int] = (1, 4)) -> Iterator[dict[str, Any]]:
    """Every seed with every batch size; split, method and commands take turns."""
    number = 0
    for batch in batches:
        for seed in seeds:
            split, method = SPLITS[number % 3], ("dagger", "dqn")[number // 3 % 2]
            kind = "expert" if split == "train" and method == "dagger" else KINDS[1 + number % 2]
            yield {
                "name": f"{split} {method} seed {seed} batch {batch}",
                "player": "split",
                "config": config_for(data, method),
                "split": split,
                "seed": seed,
                "batch": batch,
                "kind": kind,
                "episodes": 4,
                "steps": LIMITS[method] + BEYOND,
                "skip": number % 3,
            }
            number += 1


def file_scenarios(paths: list[Path], steps: int = 16) -> Iterator[dict[str, Any]]:
    """One game of each task type through textworld.gym and textworld.start, in the ways that frameworks use."""
    common: dict[str, Any] = {
        "infos": ["won", "admissible_commands"],
        "extras": [],
        "steps": steps,
        "options": {},
        "expert": None,
    }
    trinity = {"expert": "handcoded", "infos": ["description", "inventory", "admissible_commands"]}
    states = {"infos": ["admissible_commands", "facts", "command_templates"], "extras": ["walkthrough"]}
    one = {"batch_size": 1, "asynchronous": False}
    ways: list[dict[str, Any]] = [
        {"player": "gym", "kind": "expert", "extras": ["expert_plan"], **trinity},
        {"player": "gym", "kind": "random", "extras": ["gamefile"], "options": one},
        {
            "player": "start",
            "kind": "invalid",
            "wrappers": ["filter"],
            "infos": ["won", "admissible_commands", "moves"],
        },
        {"player": "start", "kind": "random", "wrappers": ["demangler"], **states},
        {"player": "gym", "kind": "expert", "expert": "planner", "extras": ["expert_plan"]},
        {"player": "gym", "kind": "random", "options": one | {"auto_reset": True}, "steps": 6},
    ]
    for number, path in enumerate(paths):
        way = ways[number % len(ways)]
        yield {"name": f"{number} {way['player']} {path.parent.parent.name}", "file": str(path), **common, **way}


def one_file_per_type(data: Path) -> list[Path]:
    """One real game of each task type."""
    return sample(game_files(data), 1)


def play(python: Path | str, scenarios: list[dict[str, Any]], folder: Path, shim: Path | None = None) -> dict[str, Any]:
    """Play the scenarios with an interpreter, through the packages in `shim` if given; all that was said, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    asked, out = folder / "scenarios.json", folder / "said.jsonl"
    asked.write_text(json.dumps(scenarios), encoding="utf-8")
    out.unlink(missing_ok=True)
    paths = [str(shim), str(REPOSITORY / "src")] if shim else []
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0"}
    done = subprocess.run([str(python), str(DRIVER), str(asked), str(out)], env=env, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode()[-3000:])
    return dict(read_said(out))


def read_said(out: Path) -> Iterator[tuple[str, Any]]:
    """What a run of the driver wrote, by scenario."""
    for line in out.read_text("utf-8").splitlines():
        scenario = json.loads(line)
        yield scenario["name"], scenario["said"]


def play_both(scenarios: list[dict[str, Any]], folder: Path, shim: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the reference said, and what the drop-in said."""
    theirs = play(reference_python(), scenarios, folder / "theirs")
    return theirs, play(sys.executable, scenarios, folder / "ours", shim)


def first_difference(theirs: list[Any], ours: list[Any]) -> str | None:
    """Where two records of a scenario part; None where they are equal."""
    for number, (a, b) in enumerate(zip(theirs, ours, strict=False)):
        if a != b:
            parts = [
                f"theirs {json.dumps(x)[:1500]}\nours   {json.dumps(y)[:1500]}"
                for x, y in zip(a, b, strict=False)
                if x != y
            ]
            return f"event {number}: " + "\n".join(parts)
    return None if len(theirs) == len(ours) else f"{len(theirs)} events, {len(ours)} of ours"
