"""What most tests of training need: a small dataset and a small model."""

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a dataset."""
    from tests.train.helpers_loop import write_dataset

    return write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model."""
    from tests.train.helpers_loop import write_model

    return write_model(tmp_path_factory.mktemp("models") / "tiny")
