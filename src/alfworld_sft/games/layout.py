"""The `$ALFWORLD_DATA` layout: where it lies, its splits, and what a file's place says about the game.

    ROOT/json_2.1.1/SPLIT/TASK/TRIAL/game.tw-pddl       (traj_data.json beside it)
    TASK = TASK_TYPE-OBJECT-MOVABLE-RECEPTACLE-SCENE    e.g. pick_and_place_simple-Book-None-SideTable-329

Pure but for `default_data_dir` (environment), `data_folder` and `split_folder` (they look whether folders exist).
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path, PurePath
from typing import Literal, get_args

from alfworld_sft.errors import UserError
from alfworld_sft.types import TASK_TYPES, TaskType

Split = Literal["train", "valid_train", "valid_seen", "valid_unseen"]
SPLITS: tuple[Split, ...] = get_args(Split)
"""The published splits; `valid_train` is a published subset of `train`."""
SPLITS_IN_WORDS = f"{', '.join(SPLITS[:-1])} or {SPLITS[-1]}"
EVAL_SPLITS: frozenset[str] = frozenset({"valid_seen", "valid_unseen"})
"""The splits that results are reported on."""

DATA_FOLDER = "json_2.1.1"
GAME_SUFFIX = ".tw-pddl"
GAME_FILE = "game.tw-pddl"
TRAJ_FILE = "traj_data.json"
WORK_FOLDER = ".alfworld-sft-fetch"
"""Where `games fetch` keeps incomplete files, inside the folder that it fetches to."""
READY_FOLDER = "ready"
"""Inside WORK_FOLDER: unpacked files on their way to their final names. It exists only while they are moved."""


def default_data_dir() -> Path:
    """Return `$ALFWORLD_DATA`, else the folder that the alfworld package itself uses: `~/.cache/alfworld`."""
    named = os.environ.get("ALFWORLD_DATA", "").strip()
    return Path(os.path.expanduser(named or "~/.cache/alfworld"))  # noqa: PTH111 - leaves the home of nobody as it is


def name_data_dir() -> str:
    """Set `$ALFWORLD_DATA`, as the alfworld package does, for programs and configs that name it; return its value.

    A folder that is not there is not named: other parts of the program would look for games there, and nowhere else.
    """
    found = default_data_dir()
    if found.is_dir():
        os.environ["ALFWORLD_DATA"] = str(found)
    return str(found)


def data_folder(root: Path) -> Path | None:
    """Return the folder that holds the splits: `ROOT/json_2.1.1`, or ROOT itself; None for any other folder."""
    for folder in (root / DATA_FOLDER, root):
        if existing_splits(folder):
            return folder
    return None


def existing_splits(folder: Path) -> list[Split]:
    """List the splits that have a folder here, in the order of SPLITS."""
    return [split for split in SPLITS if (folder / split).is_dir()]


def split_folder(data: Path, split: str) -> Path | None:
    """Return the folder of a split; for `train` it is `valid_train` where there is no `train`. None if absent."""
    for name in ("train", "valid_train") if split == "train" else (split,):
        if (data / name).is_dir():
            return data / name
    return None


def check_split(split: str) -> Split:
    """Return the split if there is one of that name; raises UserError with a suggestion otherwise."""
    for known in SPLITS:
        if split == known:
            return known
    close = difflib.get_close_matches(split, SPLITS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"the splits are {', '.join(SPLITS)}"
    raise UserError(f"unknown split {split!r}; {hint}")


def check_split_is_trainable(split: str, allow: bool) -> None:
    """Raise UserError for a split that results are reported on, unless `allow`: training on it would spoil them."""
    if split in EVAL_SPLITS and not allow:
        raise UserError(
            f"split {split!r} is for evaluation; data for training comes from 'train'"
            " (to collect from it anyway: --allow-eval-split, or games.allow_eval_split=true)"
        )


def may_stand_for(own: str, split: str) -> bool:
    """Return whether a game of the split `own` is also one of `split`: `valid_train` is a part of `train`."""
    return own == split or (own, split) == ("valid_train", "train")


def split_of(file: Path) -> Split | None:
    """Return the split that a file's place names (`…/SPLIT/TASK/TRIAL/file`), or None."""
    name = file.parents[2].name if len(file.parents) > 2 else ""
    return next((split for split in SPLITS if split == name), None)


def split_in(place: str) -> Split | None:
    """Return the split that a part of a path names, as in `json_2.1.1/valid_seen/TASK/TRIAL/game.tw-pddl`, or None."""
    parts = place.replace("\\", "/").split("/")
    return next((split for split in SPLITS if split in parts), None)


def has_no_text_game(place: str) -> bool:
    """Return whether a trial's path says that ALFWorld's text world leaves it out: movable receptacles, slicing."""
    return "movable" in place or "Sliced" in place


def read_task_folder(name: str) -> tuple[TaskType, int] | None:
    """Read task type and scene from a folder's name, as in `look_at_obj_in_light-Bowl-None-DeskLamp-301`."""
    parts = name.split("-")
    if len(parts) != 5 or not (parts[4].isascii() and parts[4].isdigit()):
        return None
    task_type = next((known for known in TASK_TYPES if known == parts[0]), None)
    return (task_type, int(parts[4])) if task_type else None


def game_id(file: PurePath, top: PurePath) -> str:
    """Return a game's stable id, '/'-separated: `TASK/TRIAL` in ALFWorld's layout, else the path below `top`.

    The ending is left out, and so is the name `game.tw-pddl`: the folder names such a game.
    """
    if file.name == GAME_FILE and len(file.parents) > 1 and read_task_folder(file.parents[1].name):
        return plain_text("/".join(file.parts[-3:-1]))
    return path_id(file, top)


def path_id(file: PurePath, top: PurePath) -> str:
    """Return the path below `top` without ending: unique within a folder, which `TASK/TRIAL` need not be."""
    below = file.relative_to(top)
    if below.name != GAME_FILE:
        return plain_text(below.as_posix().removesuffix(GAME_SUFFIX))
    return plain_text(below.parent.as_posix() if below.parent.parts else top.name)


def plain_text(name: str) -> str:
    """Return a file name as text that can be written as UTF-8: bytes that are no text become `\\xNN`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
