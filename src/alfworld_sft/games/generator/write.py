"""Generated games → a data folder in ALFWorld's layout, complete or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from alfworld_sft import __version__
from alfworld_sft.errors import UserError, file_errors
from alfworld_sft.files import whole_folder
from alfworld_sft.games import layout
from alfworld_sft.games.generator.facts import Room
from alfworld_sft.games.generator.generate import GeneratedSplit, generate_games
from alfworld_sft.games.generator.rooms import Difficulty, difficulty_of
from alfworld_sft.games.generator.tasks import check_tasks
from alfworld_sft.types import TaskType

GENERATED_FILE = "generated.json"
SHARES: Mapping[GeneratedSplit, int] = {"train": 8, "valid_seen": 1, "valid_unseen": 1}
"""How a number of games is divided among the splits."""


def divide(number: int, splits: Sequence[GeneratedSplit]) -> dict[GeneratedSplit, int]:
    """Divide games among splits, at least one for each; raises UserError where they are too few."""
    if number < len(splits):
        raise UserError(f"--num {number} is too few: every split needs a game ({', '.join(splits)})")
    whole = sum(SHARES[split] for split in splits)
    sizes = {split: max(1, number * SHARES[split] // whole) for split in splits}
    largest = max(splits, key=SHARES.__getitem__)
    sizes[largest] += number - sum(sizes.values())
    return sizes


def check_options(
    folder: Path, task_types: Sequence[TaskType] | None, rooms: Sequence[Room] | None, difficulty: str
) -> Difficulty:
    """Return the difficulty meant; raises UserError for options that leave no game, and for a folder in use."""
    check_tasks(task_types, rooms)
    folder = folder.expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a new folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; name a new folder")
    return difficulty_of(difficulty)


def write_games(
    folder: Path,
    sizes: Mapping[GeneratedSplit, int],
    seed: int,
    *,
    task_types: Sequence[TaskType] | None = None,
    rooms: Sequence[Room] | None = None,
    difficulty: str = "normal",
    on_game: Callable[[], None] = lambda: None,
) -> None:
    """Write the games to FOLDER/json_2.1.1/SPLIT/TASK/TRIAL/, and what made them to FOLDER/generated.json.

    Raises UserError for options that leave no game, and for a folder that holds something; after any error the
    folder is as it was.
    """
    how_hard = check_options(folder, task_types, rooms, difficulty)
    folder = folder.expanduser().absolute()
    way_out = "make room for it, or name a folder that can be written"
    with file_errors("write", folder, way_out), whole_folder(folder) as unfinished:
        for split, number in sizes.items():
            made = generate_games(number, seed, split=split, task_types=task_types, rooms=rooms, difficulty=how_hard)
            for game in made:
                place = unfinished / layout.DATA_FOLDER / split / game.id
                place.mkdir(parents=True)
                (place / layout.GAME_FILE).write_bytes(game.file_bytes())
                (place / layout.TRAJ_FILE).write_bytes(game.traj_bytes())
                on_game()
        stamp = {
            "made_by": f"alfworld-sft {__version__}",
            "seed": seed,
            "games": dict(sizes),
            "task_types": task_types,
            "rooms": rooms,
            "difficulty": difficulty,
        }
        (unfinished / GENERATED_FILE).write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")
