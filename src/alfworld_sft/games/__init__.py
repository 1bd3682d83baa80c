"""Where games come from: a data folder, any folder of game files, a single file, the package itself, a generator.

`find_games(source, split)` gives `Games`: sorted refs with stable ids and hashes, each of which loads its game.
`GameStream(seed)` gives a new game for every number. `games fetch` gets the official archives, `games generate` writes
new games in their layout.
"""

from alfworld_sft.games.layout import SPLITS, Split, check_split, check_split_is_trainable, default_data_dir
from alfworld_sft.games.refs import GameRef, Games, GameSource, ShuffledGames
from alfworld_sft.games.sources import EMBEDDED, GENERATE, find_all_games, find_games
from alfworld_sft.games.stream import GameStream

__all__ = [
    "EMBEDDED",
    "GENERATE",
    "SPLITS",
    "GameRef",
    "GameSource",
    "GameStream",
    "Games",
    "ShuffledGames",
    "Split",
    "check_split",
    "check_split_is_trainable",
    "default_data_dir",
    "find_all_games",
    "find_games",
]
