"""Which game is played? A file, an id or a part of one, or any: the first in a seed's order."""

from __future__ import annotations

from pathlib import Path
from random import Random

from alfworld_sft.errors import UserError
from alfworld_sft.games import GameRef, Games, find_games
from alfworld_sft.games.layout import GAME_SUFFIX
from alfworld_sft.seeds import derive_seed


def choose_game(name: str | None, source: str | None, split: str, seed: int) -> tuple[GameRef, Games]:
    """Return a game and the games that it is one of; raises UserError where the name fits none, or several."""
    if name and (name.endswith(GAME_SUFFIX) or Path(name).is_file()):
        games = find_games(name, split)
        return games.refs[0], games
    games = find_games(source, split)
    if not name:
        return Random(derive_seed(seed, "play")).choice(games.refs), games
    exact = [ref for ref in games if ref.id == name]
    fitting = exact or [ref for ref in games if name.lower() in ref.id.lower()]
    if not fitting:
        raise UserError(f"no game {name!r} among {games.description}; list their files, or leave the name out")
    if len(fitting) > 1:
        examples = ", ".join(ref.id for ref in fitting[:3])
        raise UserError(f"{name!r} fits {len(fitting)} games ({examples}, …); name more of the id")
    return fitting[0], games
