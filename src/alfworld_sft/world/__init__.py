"""The text world: ALFWorld's games, played in pure Python, word for word like the reference.

Standard library only. `load_game` validates a game file, `Env` plays it; `rules`, `observations` and `language` are
pure functions.
"""

from alfworld_sft.world.env import NOT_MEASURED, Env, EnvState, Observation
from alfworld_sft.world.game import Game
from alfworld_sft.world.gamefile import load_game, parse_game

__all__ = ["NOT_MEASURED", "Env", "EnvState", "Game", "Observation", "load_game", "parse_game"]
