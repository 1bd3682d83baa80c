"""Which game is played? A file, an id or a part of one, or any: the first in a seed's order."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from random import Random
from typing import get_args

from alfworld_sft.errors import UserError
from alfworld_sft.games import GameRef, Games, find_games
from alfworld_sft.games.layout import GAME_SUFFIX, Split, split_of
from alfworld_sft.seeds import derive_seed


def _way_out(name: str, source: str | None, games: Games) -> str:
    """Say where a game of this name is, or which names are close."""
    for other in get_args(Split):
        try:
            if other != games.split and any(ref.id == name for ref in find_games(source, other)):
                return f"it is one of another split: --split {other}"
        except UserError:
            continue
    close = get_close_matches(name, [ref.id for ref in games], 1, cutoff=0.3)
    return f"did you mean {close[0]!r}?" if close else "leave the name out to play any"


def choose_game(name: str | None, source: str | None, split: str, seed: int) -> tuple[GameRef, Games]:
    """Return a game and the games that it is one of; raises UserError where the name fits none, or several."""
    if name and (name.endswith(GAME_SUFFIX) or Path(name).is_file()):
        games = find_games(name, split_of(Path(name)) or split)
        return games.refs[0], games
    games = find_games(source, split)
    if not name:
        return Random(derive_seed(seed, "play")).choice(games.refs), games
    exact = [ref for ref in games if ref.id == name]
    fitting = exact or [ref for ref in games if name.lower() in ref.id.lower()]
    if not fitting:
        raise UserError(f"no game {name!r} among {games.description}; {_way_out(name, source, games)}")
    if len(fitting) > 1:
        examples = ", ".join(ref.id for ref in fitting[:3])
        raise UserError(f"{name!r} fits {len(fitting)} games ({examples}, …); name more of the id")
    return fitting[0], games
