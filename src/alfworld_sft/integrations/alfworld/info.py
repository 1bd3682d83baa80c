"""Where do ALFWorld's data and logic lie, and which versions does the drop-in stand for?"""

from __future__ import annotations

from importlib.resources import files

from alfworld_sft.games.layout import name_data_dir

__version__ = "0.4.2"
TEXTWORLD_VERSION = "1.7.0"

ALFWORLD_DATA = name_data_dir()
"""`$ALFWORLD_DATA`, else ~/.cache/alfworld; set as environment variable, too, for configs that name it."""

_LOGIC = files("alfworld_sft.games.generator.logic")
BUILTIN_DATA_PATH = str(_LOGIC)
ALFRED_PDDL_PATH = str(_LOGIC.joinpath("domain.pddl"))
ALFRED_TWL2_PATH = str(_LOGIC.joinpath("grammar.twl2"))
