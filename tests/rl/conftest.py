"""A small agent that wins some of its games, for the tests of reinforcement learning."""

import pytest


@pytest.fixture(scope="session")
def games(tmp_path_factory):
    """A folder of three hand-made games."""
    from tests.collecting import write_games

    return write_games(tmp_path_factory.mktemp("games"), 3)


@pytest.fixture(scope="session")
def agent(games, tmp_path_factory):
    """A full model that was fine-tuned on an expert's episodes in these games."""
    pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
    pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")
    from tests.rl.helpers import write_agent

    return write_agent(games, tmp_path_factory.mktemp("agent"))
