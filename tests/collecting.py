"""Folders of hand-made games, collections of them, and what a run leaves on disk, for the tests of runs."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.collect.run import CollectJob, collect, start_run
from alfworld_sft.config import build_config
from alfworld_sft.dataset.build import Summary
from alfworld_sft.games import find_games
from alfworld_sft.runs.records import from_line
from alfworld_sft.types import Episode, TaskType
from alfworld_sft.world import Game
from tests.fake_server import FakeServer
from tests.handmade import Furniture, game_file

_ROOM = (
    Furniture("countertop 1", 1, ("mug 1", "apple 1")),
    Furniture("desk 1", 2, ("mug 2", "pen 1", "desklamp 1")),
    Furniture("drawer 1", 3, ("pen 2",)),
    Furniture("fridge 1", 4, ("apple 2",)),
    Furniture("microwave 1", 5),
    Furniture("sinkbasin 1", 6),
    Furniture("shelf 1", 7),
)
_TASKS: tuple[tuple[TaskType, str, str, str], ...] = (
    ("pick_and_place_simple", "pen", "shelf", "put some pen on shelf."),
    ("look_at_obj_in_light", "pen", "desklamp", "look at pen under the desklamp."),
    ("pick_clean_then_place_in_recep", "mug", "shelf", "put a clean mug in shelf."),
    ("pick_heat_then_place_in_recep", "apple", "desk", "heat some apple and put it in desk."),
    ("pick_cool_then_place_in_recep", "mug", "countertop", "cool some mug and put it in countertop."),
    ("pick_two_obj_and_place", "mug", "drawer", "put two mug in drawer."),
)


def write_games(data_dir: Path, count: int = 12, split: str = "train") -> Path:
    """Write games of all task types in ALFWorld's layout, and return the data folder."""
    for number in range(count):
        task_type, target, place, task = _TASKS[number % 6]
        room = [Furniture(f.name, f.location, f.objects) for f in _ROOM]
        room.append(Furniture("garbagecan 1", 8, tuple(f"book {n}" for n in range(1, number // 6 + 1))))
        folder = (
            data_dir / "json_2.1.1" / split / f"{task_type}-{target.title()}-None-{place.title()}-{number + 1}" / "t1"
        )
        folder.mkdir(parents=True)
        (folder / "game.tw-pddl").write_bytes(game_file(task_type, target, place, room, task=task))
        (folder / "traj_data.json").write_text("{}")
    return data_dir


def contents(run_folder: Path) -> dict[str, bytes]:
    """Return what must be the same for the same seed: all files but the stamp; the journal by its set of lines."""
    found = {file.name: file.read_bytes() for file in run_folder.iterdir() if file.name != "run.json"}
    found["episodes.jsonl"] = b"".join(sorted(found["episodes.jsonl"].splitlines(keepends=True)))
    return found


def server_words(data: Path, fake: FakeServer, *overrides: str) -> list[str]:
    """Return the overrides of a run in which the model `tiny` at a server plays the games of a data folder."""
    return [
        f"games.source={data}", "policy.name=server", "policy.model=tiny", f"policy.base_url={fake.url}", *overrides,
    ]  # fmt: skip


def start(parent: Path, *words: str, name: str = "run") -> CollectJob:
    """Start a collection with these overrides in `parent / name`."""
    return start_run(build_config(CollectConfig, words), parent, name=name)


def play(job: CollectJob) -> Summary:
    """Play what a collection owes, write its dataset, and close its folder."""
    with job.run:
        return collect(job)


def stamp_of(run_folder: Path) -> dict[str, Any]:
    """Return what is in a run's `run.json`."""
    stamp: dict[str, Any] = json.loads((run_folder / "run.json").read_bytes())
    return stamp


def collected(parent: Path, data: Path, *words: str, name: str = "run") -> Path:
    """Collect from a data folder with these overrides; return the run's folder."""
    play(start(parent, f"games.source={data}", *words, name=name))
    return parent / name


def rows(run_folder: Path) -> list[dict[str, Any]]:
    """Return all rows of a dataset."""
    tables = (pq.read_table(run_folder / f"{split}.parquet") for split in ("train", "val"))
    return [row for table in tables for row in table.to_pylist()]


def episodes(run_folder: Path) -> list[Episode]:
    """Return the episodes of a journal, in its order."""
    return [from_line(line) for line in (run_folder / "episodes.jsonl").read_bytes().splitlines(keepends=True)]


def game_of(episode: Episode, data: Path) -> Game:
    """Return the game that an episode played."""
    return next(ref.load() for ref in find_games(str(data), episode.split) if ref.id == episode.game_id)
