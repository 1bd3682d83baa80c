"""Which games are held out for validation? Complete games, stratified by task type, close to a share of the rows."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import NamedTuple

from alfworld_sft.seeds import derive_seed


class GameRows(NamedTuple):
    """The task type and number of rows of a game."""

    task_type: str
    rows: int


def held_out_games(games: Mapping[str, GameRows], fraction: float, seed: int) -> frozenset[str]:
    """Return the ids of the games held out for validation.

    Within each task type, games are visited in an order given by the seed and taken while each brings the number of
    rows closer to `fraction` of the type's rows. A deficit or surplus carries over to the next type, so the total is
    also close. With two or more games and a fraction above 0, at least one game is held out and at least one is not.
    """
    by_type: dict[str, list[str]] = {}
    for game_id, game in sorted(games.items()):
        by_type.setdefault(game.task_type, []).append(game_id)
    held_out: set[str] = set()
    missing = 0.0
    for task_type, ids in sorted(by_type.items()):
        Random(derive_seed(seed, "split", task_type)).shuffle(ids)
        missing += fraction * sum(games[i].rows for i in ids)
        for game_id in ids[: len(ids) - 1]:  # one game of each type always trains
            if abs(missing - games[game_id].rows) < abs(missing):
                held_out.add(game_id)
                missing -= games[game_id].rows
    if fraction > 0 and not held_out and len(games) > 1:
        held_out.add(min(games, key=lambda game_id: (games[game_id].rows, game_id)))
    return frozenset(held_out)
