"""The generated data folder that the tests of the drop-in play."""

from pathlib import Path

import pytest

from tests.integrations.data import write_data


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the splits."""
    return write_data(tmp_path_factory.mktemp("alfworld") / "data")
