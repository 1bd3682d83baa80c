"""Fixtures that every test may use. Real games may not be committed: tests of them are skipped where there are none."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from alfworld_sft.world import Game, parse_game
from tests.fake_server import KEY
from tests.handmade import kitchen_file

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the records of the tests' runs out of the user's state directory."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder / "alfworld-sft"


@pytest.fixture(scope="session")
def real_games_dir() -> Path:
    """The folder with `valid_train` and `valid_seen`: below $ALFWORLD_DATA, else in ../shared."""
    data = Path(os.environ.get("ALFWORLD_DATA", REPOSITORY.parent / "shared" / "alfworld_data"))
    folder = data / "json_2.1.1"
    if not folder.is_dir():
        pytest.skip(f"there are no real games in {folder}; set ALFWORLD_DATA to where they are")
    return folder


@pytest.fixture(scope="session")
def real_game_paths(real_games_dir: Path) -> list[Path]:
    """The files of the real games at hand, in the order of their paths."""
    return sorted(
        path for split in ("valid_train", "valid_seen") for path in real_games_dir.glob(f"{split}/*/*/game.tw-pddl")
    )


@pytest.fixture
def kitchen() -> Game:
    """A small game made by hand: heat some apple and put it in the fridge."""
    return parse_game(kitchen_file(), game_id="kitchen")


@pytest.fixture
def openai_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set an API key, and no address of a server."""
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
