"""Collecting from the embedded games and from the stream."""

import json
from pathlib import Path

import pytest

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.collect.run import collect, resume_run, start_run
from alfworld_sft.config import build_config
from alfworld_sft.errors import UserError


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)


def run(folder: Path, *overrides: str) -> dict:
    job = start_run(build_config(CollectConfig, list(overrides)), folder, name="run")
    with job.run:
        collect(job)
    return json.loads((folder / "run" / "run.json").read_text())


def test_without_games_a_run_plays_the_embedded_ones_and_says_so(tmp_path: Path):
    stamp = run(tmp_path, "num_episodes=6")
    assert stamp["games"]["description"] == "512 embedded train games (generated; they come with the package)"
    assert (stamp["config"]["games"]["source"], stamp["counts"]["won"]) == ("embedded", 6)


def test_a_stream_gives_every_episode_a_game_of_its_own(tmp_path: Path):
    stamp = run(tmp_path, "num_episodes=8", "games.source=generate", "seed=7")
    assert stamp["games"]["description"] == "a generated train game for every episode (seed 7, difficulty normal)"
    assert stamp["games"]["count"] == 8
    episodes = [json.loads(line) for line in (tmp_path / "run" / "episodes.jsonl").read_text().splitlines()]
    assert len({episode["game_id"] for episode in episodes}) == 8


def test_a_run_of_a_stream_can_be_resumed(tmp_path: Path):
    config = build_config(CollectConfig, ["num_episodes=4", "games.source=generate", "games.difficulty=1.5"])
    start_run(config, tmp_path, name="run").run.close()
    job = resume_run(tmp_path / "run")
    with job.run:
        assert collect(job).episodes == 4


def error_of(folder: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as error:
        start_run(build_config(CollectConfig, list(overrides)), folder)
    assert list(folder.iterdir()) == []
    return str(error.value)


def test_a_stream_without_a_number_of_episodes_is_refused(tmp_path: Path):
    assert error_of(tmp_path, "games.source=generate") == (
        "games.source=generate has no end: say how many episodes to play with num_episodes=N"
    )


def test_wrong_options_of_a_stream_are_refused(tmp_path: Path):
    assert error_of(tmp_path, "games.source=generate", "num_episodes=1", "games.difficulty=heavy") == (
        "unknown difficulty 'heavy'; there are easy, normal, hard, or a number from 0 to 2"
    )


def test_validation_games_are_refused_for_training_there_too(tmp_path: Path):
    with pytest.raises(UserError, match="is for evaluation"):
        start_run(CollectConfig.model_validate({"games": {"source": "embedded", "split": "valid_seen"}}), tmp_path)
