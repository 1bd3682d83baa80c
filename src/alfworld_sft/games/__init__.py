"""Where games come from: a data folder and its splits, any folder of game files, a single file, the official archives.

`find_games(source, split)` gives `Games`: sorted refs with stable ids and hashes, each of which loads its game.
"""

from alfworld_sft.games.layout import SPLITS, Split, check_split, check_split_is_trainable, default_data_dir
from alfworld_sft.games.sources import GameRef, Games, find_all_games, find_games

__all__ = [
    "SPLITS",
    "GameRef",
    "Games",
    "Split",
    "check_split",
    "check_split_is_trainable",
    "default_data_dir",
    "find_all_games",
    "find_games",
]
