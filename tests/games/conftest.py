"""Small games and data folders, made in a temporary folder, and a cache of the test's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BOOK = "pick_and_place_simple-Book-None-SideTable-329"
EGG = "pick_heat_then_place_in_recep-Egg-None-Fridge-23"
TRIAL = "trial_T20190907_000000_000001"

MakeGame = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setenv("ALFWORLD_SFT_CACHE_DIR", str(cache))
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    monkeypatch.delenv("ALFWORLD_SFT_ARCHIVE_URLS", raising=False)
    return cache


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The root of an empty data folder."""
    root = tmp_path / "data"
    root.mkdir()
    return root


def write_game(file: Path, *, traj: dict[str, Any] | None = None, **content: Any) -> Path:
    """Write what the index reads of a game file; `content` adds to it or replaces it (`solvable=...` drops the key)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fields = {"solvable": True, "pddl_problem": "(define)"} | content
    file.write_text(json.dumps({key: value for key, value in fields.items() if value is not ...}))
    if traj is not None:
        (file.parent / "traj_data.json").write_text(json.dumps(traj))
    return file


def official(root: Path, split: str, task: str = BOOK, trial: str = TRIAL, **content: Any) -> Path:
    """Write a game at its place in ALFWorld's layout."""
    return write_game(root / "json_2.1.1" / split / task / trial / "game.tw-pddl", **content)
