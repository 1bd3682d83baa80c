"""Twelve games, and the folder that holds them."""

from pathlib import Path

import pytest

from alfworld_sft.games import find_games
from alfworld_sft.world import Game
from tests.collecting import write_games


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the games."""
    return write_games(tmp_path_factory.mktemp("foreign"), 12)


@pytest.fixture(scope="module")
def games(data: Path) -> list[Game]:
    """The games of the folder."""
    return [ref.load() for ref in find_games(data, "train")]
