"""The games that come with the package: 512 for training, 64 and 64 for validation, made by our generator.

One compressed file of JSON lines: first what it holds, then a blueprint for each game, split by split. It is made by
`scripts/make_embedded_games.py` and played straight from memory.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from pathlib import Path

from alfworld_sft.errors import GameFileError, GamesNotFoundError
from alfworld_sft.games.generator.blueprint import Blueprint, pack, unpack
from alfworld_sft.games.generator.generate import from_blueprint, game_id
from alfworld_sft.games.refs import GameRef, Games
from alfworld_sft.world.game import Game

FILE = Path(__file__).with_name("embedded.jsonl.gz")
SIZES: Mapping[str, int] = {"train": 512, "valid_seen": 64, "valid_unseen": 64}


def embedded_games(split: str) -> Games:
    """Return the embedded games of a split; raises GamesNotFoundError for a split that they lack."""
    lines = _lines().get(split)
    if lines is None:
        raise GamesNotFoundError(
            f"no games found: the embedded games have no split {split!r}, only {', '.join(_lines())}"
        )
    refs = tuple(sorted(_ref(line, split) for line in lines))
    return Games(
        refs, split, FILE.parent, f"{len(refs)} embedded {split} games (generated; they come with the package)"
    )


def embedded_content(blueprints_by_split: Mapping[str, Iterable[Blueprint]], seed: int) -> bytes:
    """Return the content of FILE, uncompressed."""
    lines = {split: [pack(blueprint) for blueprint in found] for split, found in blueprints_by_split.items()}
    header = {"seed": seed, "games": {split: len(found) for split, found in lines.items()}}
    return b"\n".join([json.dumps(header).encode(), *(line for found in lines.values() for line in found), b""])


@lru_cache(maxsize=1)
def _lines() -> dict[str, list[bytes]]:
    header, *lines = gzip.decompress(FILE.read_bytes()).splitlines()
    by_split: dict[str, list[bytes]] = {}
    for split, number in json.loads(header)["games"].items():
        by_split[split], lines = lines[:number], lines[number:]
    return by_split


def _ref(line: bytes, split: str) -> GameRef:
    blueprint = unpack(line)
    sha256 = hashlib.sha256(line).hexdigest()
    return GameRef(
        id=game_id(blueprint, sha256),
        split=split,
        sha256=sha256,
        task_type=blueprint.task_type,
        scene=blueprint.scene,
        make=partial(_load, line, split),
    )


def _load(line: bytes, split: str) -> Game:
    made = from_blueprint(unpack(line), split)
    if made is None:
        raise GameFileError(str(FILE), "it holds a game that cannot be won")
    return made.game
