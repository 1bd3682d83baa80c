"""Collecting from the games that earlier runs lost."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from alfworld_sft.cli import app
from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.collect.run import collect, resume_run, start_run
from alfworld_sft.config import build_config
from alfworld_sft.errors import DatasetError, UserError
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.evaluate.run import evaluate, start_evaluation
from alfworld_sft.games.generator.generate import generate_game
from alfworld_sft.runs.played_games import games_of_run
from alfworld_sft.runs.store import read_stamp
from alfworld_sft.runs.trust import read_allowed

RANDOM = ("policy.name=random", "env.max_steps=12")
OF_TRAINING_GAMES = ("games.source=generate", "games.split=train", "num_games=3", "seed=3")


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)


def run(folder: Path, name: str, *words: str) -> list[dict[str, Any]]:
    job = start_run(build_config(CollectConfig, [*words]), folder, name=name)
    with job.run:
        collect(job)
    return [json.loads(line) for line in (folder / name / "episodes.jsonl").read_text().splitlines()]


def evaluated(folder: Path, name: str, *words: str) -> Path:
    job = start_evaluation(build_config(EvaluateConfig, [*words, *RANDOM]), folder, name=name)
    with job.run:
        evaluate(job)
    return folder / name


def lost(episodes: list[dict[str, Any]]) -> set[str]:
    return {episode["game_id"] for episode in episodes if not episode["success"]}


@pytest.mark.parametrize("source", ["games.source=generate", "games.source=embedded"])
def test_only_lost_games_are_played_the_very_same_ones(tmp_path: Path, source: str) -> None:
    first = run(tmp_path, "first", source, "num_episodes=30", "seed=3", "policy.name=expert", "env.max_steps=7")
    assert 0 < len(lost(first)) < 30
    again = run(tmp_path, "again", f"games.lost_by=[{tmp_path / 'first'}]", "seed=9")
    assert {episode["game_id"] for episode in again} == lost(first)
    assert all(episode["success"] for episode in again)
    begins = {episode["game_id"]: episode["steps"][0]["observation"] for episode in first}
    assert {episode["game_id"]: episode["steps"][0]["observation"] for episode in again}.items() <= begins.items()
    described = read_stamp(tmp_path / "again")["games"]["description"]
    assert described == f"{len(lost(first))} games of train that first lost"


def test_the_lost_games_of_several_runs_can_be_played_often(tmp_path: Path) -> None:
    first = run(tmp_path, "first", "games.source=generate", "num_episodes=2", "seed=3", *RANDOM)
    second = run(tmp_path, "second", "games.source=generate", "num_episodes=2", "seed=4", *RANDOM)
    words = (f"games.lost_by=[{tmp_path / 'first'},{tmp_path / 'second'}]", "num_episodes=8", "policy.noise=0.15")
    played = [episode["game_id"] for episode in run(tmp_path, "again", *words)]
    assert set(played) == lost(first) | lost(second)
    assert {played.count(game) for game in played} == {2}


def test_what_was_lost_again_can_be_played_again_and_a_run_is_resumed(tmp_path: Path) -> None:
    run(tmp_path, "first", "games.source=generate", "num_episodes=3", "seed=3", *RANDOM)
    second = run(tmp_path, "second", f"games.lost_by=[{tmp_path / 'first'}]", "seed=5", *RANDOM)
    start_run(
        build_config(CollectConfig, [f"games.lost_by=[{tmp_path / 'second'}]"]), tmp_path, name="third"
    ).run.close()
    job = resume_run(tmp_path / "third")
    with job.run:
        assert collect(job).episodes == len(lost(second))
    games = games_of_run(read_stamp(tmp_path / "third"), ())
    assert all(games.ref(episode["game_id"], "train", 0) for episode in second)


def test_what_an_evaluation_lost_is_found_by_its_own_order(tmp_path: Path) -> None:
    played = evaluated(tmp_path, "played", *OF_TRAINING_GAMES)
    again = run(tmp_path, "again", f"games.lost_by=[{played}]")
    assert len(again) == 3


def test_an_episode_that_ended_in_an_error_lost_its_game(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    played = evaluated(tmp_path, "played", *OF_TRAINING_GAMES)
    journal, stamp = played / "episodes.jsonl", played / "run.json"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    failed = {key: lines[0][key] for key in ("index", "game_id")} | {"error": "the prompt has 520 tokens"}
    journal.write_text("".join(json.dumps(line) + "\n" for line in [failed, *lines[1:]]))
    stamp.write_text(stamp.read_text().replace('"status": "complete"', '"status": "incomplete"'))
    again = run(tmp_path, "again", f"games.lost_by=[{played}]")
    assert {episode["game_id"] for episode in again} == {line["game_id"] for line in lines}
    assert f"{played} is not complete: it has played 3 of 3 episodes, 1 episode ended in an" in caplog.text


def test_another_game_under_the_name_of_a_lost_one_is_refused(tmp_path: Path) -> None:
    games = tmp_path / "games"
    games.mkdir()
    (games / "game.tw-pddl").write_bytes(generate_game(1).file_bytes())
    run(tmp_path, "first", f"games.source={games}", *RANDOM)
    (games / "game.tw-pddl").write_bytes(generate_game(2).file_bytes())
    refused = error_of(tmp_path, f"games.lost_by=[{tmp_path / 'first'}]")
    assert f"{games / 'game.tw-pddl'} holds another game now; put its games where they were, or name their" in refused
    assert refused.endswith(f"alfworld-sft collect --resume {tmp_path / 'first'} games.source=FOLDER")


def test_a_run_whose_lost_games_have_moved_is_resumed_and_checked(tmp_path: Path) -> None:
    run(tmp_path, "first", "games.source=generate", "num_episodes=3", "seed=3", *RANDOM)
    run(tmp_path, "again", f"games.lost_by=[{tmp_path / 'first'}]")
    (tmp_path / "first").rename(tmp_path / "moved")
    checked = CliRunner().invoke(app, ["check", str(tmp_path / "again")])
    assert checked.exit_code == 2
    assert "games.lost_by: " in checked.output
    assert (
        "first is not a run's folder: it has no run.json; if the run has moved, say where it is now" in checked.output
    )
    assert "--source" not in checked.output
    assert "single-turn" in checked.output  # the rows are read all the same
    named = read_allowed([f"games.lost_by=[{tmp_path / 'moved'}]"], trust=False)
    with resume_run(tmp_path / "again", named).run:
        pass
    assert CliRunner().invoke(app, ["check", str(tmp_path / "again")]).exit_code == 0


def test_a_value_that_a_resumed_run_cannot_have_is_named(tmp_path: Path) -> None:
    run(tmp_path, "first", "games.source=generate", "num_episodes=1", "seed=3", *RANDOM)
    run(tmp_path, "again", f"games.lost_by=[{tmp_path / 'first'}]")
    with pytest.raises(UserError) as error:
        resume_run(tmp_path / "again", read_allowed(["games.source=generate"], trust=False))
    assert str(error.value).startswith(f"--resume {tmp_path / 'again'} games.source: games: lost_by: those runs say")


def error_of(folder: Path, *words: str) -> str:
    before = sorted(folder.iterdir())
    with pytest.raises(UserError) as error:
        start_run(build_config(CollectConfig, list(words)), folder)
    assert sorted(folder.iterdir()) == before
    return str(error.value)


def test_what_cannot_be_played_again_is_said(tmp_path: Path) -> None:
    run(tmp_path, "won", "num_episodes=2")
    won = tmp_path / "won"
    assert error_of(tmp_path, f"games.lost_by=[{won}]") == "no games found: won lost none of the split 'train'"
    assert "leave games.source out" in error_of(tmp_path, f"games.lost_by=[{won}]", "games.source=embedded")
    assert "is not a run's folder" in error_of(tmp_path, f"games.lost_by=[{tmp_path / 'none'}]")


def test_a_lost_game_that_another_version_made_is_not_left_out_in_silence(tmp_path: Path) -> None:
    run(tmp_path, "first", "games.source=generate", "num_episodes=1", "seed=3", *RANDOM)
    journal = tmp_path / "first" / "episodes.jsonl"
    game_id = json.loads(journal.read_text())["game_id"]
    journal.write_text(journal.read_text().replace(game_id, f"{game_id}x"))
    assert f"episode 0 lost {game_id}x, which this version does not generate" in error_of(
        tmp_path, f"games.lost_by=[{tmp_path / 'first'}]"
    )


def test_a_run_that_lost_its_own_games_is_refused(tmp_path: Path) -> None:
    run(tmp_path, "first", "games.source=generate", "num_episodes=1", "seed=3", *RANDOM)
    file = tmp_path / "first" / "run.json"
    stamp = json.loads(file.read_text())
    stamp["config"]["games"]["lost_by"] = [str(tmp_path / "first")]
    file.write_text(json.dumps(stamp))
    refused = f"{tmp_path / 'first'}: by its run.json it plays the games that it has lost itself"
    assert refused == error_of(tmp_path, f"games.lost_by=[{tmp_path / 'first'}]")


def test_lost_games_of_an_evaluation_split_are_no_training_data(tmp_path: Path) -> None:
    seen = evaluated(tmp_path, "seen", "num_games=2")
    assert "lost none of the split 'train'" in error_of(tmp_path, f"games.lost_by=[{seen}]")
    named = (f"games.lost_by=[{seen}]", "games.split=valid_seen")
    assert "is for evaluation" in error_of(tmp_path, *named)


def test_a_run_that_owes_nothing_is_not_said_to_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DatasetError):
        run(tmp_path, "lost", "num_episodes=2", "policy.name=random", "env.max_steps=1", "dataset.require_success=true")
    assert len(run(tmp_path, "again", f"games.lost_by=[{tmp_path / 'lost'}]")) == 2
    assert "is not complete" not in caplog.text
