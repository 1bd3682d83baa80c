"""The command `check`: each fault that is planted in a run is found, and hostile text cannot steer the terminal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from alfworld_sft.check.cli import check_command
from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.collect.run import collect, start_run
from alfworld_sft.config import build_config
from alfworld_sft.errors import UserError
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.evaluate.run import evaluate, start_evaluation
from tests.collecting import write_games
from tests.train.helpers_data import WM, rows, wandering, write, write_tokenizer_only

RECORDS = rows([wandering(0, turns=3, noisy=(1,)), wandering(1, turns=2)])
OTHERS = rows([wandering(2, turns=3)])


app = typer.Typer()
app.command()(check_command)


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write(tmp_path / "train.parquet", RECORDS)
    write(tmp_path / "val.parquet", OTHERS)
    return tmp_path


def test_the_command_checks_both_forms(dataset: Path) -> None:
    result = run(dataset)
    assert result.exit_code == 0, result.output
    assert [line for line in result.output.splitlines() if not line.startswith(" ")] == [
        "single-turn",
        "multi-turn",
        "games",
    ]


def test_rows_that_are_episodes_are_no_single_turns(dataset: Path) -> None:
    write(dataset / "train.parquet", rows([wandering(0, turns=3)], replace(WM, rows_per="episode")))
    assert "training single turns is refused" in run(dataset, "data.multiturn.enable=false").output
    assert "is refused" not in run(dataset, "data.multiturn.enable=true").output


def test_the_command_fails_on_a_dataset_that_cannot_be_trained_on(dataset: Path) -> None:
    result = run(dataset, "data.prompt_dict_keys=[question]", "data.multiturn.enable=false")
    assert result.exit_code == 2
    assert f"error: {dataset}/train.parquet row 0: 'prompt_data' has no key 'question'" in result.output


def test_a_wrong_override_is_told_before_anything_is_replayed(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alfworld_sft.check.cli.replay_journal", None)
    result = run(run_folder, "data.max_lenght=7")
    assert isinstance(result.exception, UserError)
    assert "data.max_lenght" in str(result.exception)


def test_a_missing_dataset_is_told(tmp_path: Path) -> None:
    result = run(tmp_path / "nowhere" / "x")
    assert isinstance(result.exception, UserError)
    assert "there is no folder" in str(result.exception)


def test_the_mask_needs_a_model(dataset: Path) -> None:
    assert "--show-mask needs --model" in str(run(dataset, "--show-mask").exception)


@pytest.fixture
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch", reason="training is not installed (pip install -e '.[train]')")
    pytest.importorskip("peft", reason="training is not installed (pip install -e '.[train]')")
    return write_tokenizer_only(tmp_path_factory.mktemp("model"))


def test_the_mask_is_shown_in_brackets_without_colour(dataset: Path, model: Path) -> None:
    result = run(dataset, "--model", model, "--show-mask", "--no-color", "data.multiturn.enable=true")
    assert result.exit_code == 0, result.output
    assert "train tokens: " in result.output
    assert "take drawer 2 from desk 0⟧⟦tags and end|</action><|im_end|>⟧" in result.output
    assert "<action>take plate 1 from desk 0</action><|im_end|>" in result.output  # the noisy turn: context alone


def test_markup_and_escapes_in_a_dataset_are_only_text(dataset: Path, model: Path) -> None:
    hostile = "[red]fire[/red] \x1b[2J[/] <|im_end|>"
    said = {"messages": [{"role": "user", "content": hostile}, *RECORDS[2]["messages"][1:]]}
    write(dataset / "train.parquet", [{**RECORDS[2], **said}])
    result = run(dataset, "--model", model, "--show-mask", "--no-color", "data.multiturn.enable=true")
    assert result.exit_code == 0, result.output
    assert "[red]fire[/red] \\x1b[2J[/] <|im_end|><|im_end|>" in result.output
    assert "\x1b" not in result.output


def test_what_is_cut_is_told_with_the_lengths(dataset: Path, model: Path) -> None:
    result = run(dataset, "--model", model, "data.max_length=200", "data.multiturn.enable=true")
    assert "rows were dropped: no trained token is left" in result.output


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of twelve hand-made games; tests change copies of it."""
    folder = tmp_path_factory.mktemp("played")
    games = write_games(folder / "data", 12)
    job = start_run(build_config(CollectConfig, [f"games.source={games}"]), folder, name="run")
    with job.run:
        collect(job)
    return job.run.path


@pytest.fixture
def run_folder(played: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(played, tmp_path / "run"))


def found(folder: Path, *words: object) -> tuple[int, dict[str, Any]]:
    """The exit code of `check --json`, and the findings that are not facts: (section, about) → texts."""
    result = run(folder, "--json", *words)
    told = json.loads(result.stdout)
    wrong: dict[str, Any] = {}
    for section in told["sections"]:
        for finding in section["findings"]:
            if finding["severity"] != "fact":
                wrong.setdefault(f"{section['name']}: {finding['about']}", []).append(finding["text"])
    assert told["ok"] is (result.exit_code == 0)
    return result.exit_code, wrong


def change_episode(folder: Path, index: int, change: Callable[[dict[str, Any]], object]) -> None:
    """Change an episode in a journal."""
    journal = folder / "episodes.jsonl"
    episodes = [json.loads(line) for line in journal.read_text().splitlines()]
    change(next(episode for episode in episodes if episode["index"] == index))
    journal.write_text("".join(json.dumps(episode) + "\n" for episode in episodes))


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_was_not_touched_is_fine(run_folder: Path, jobs: int) -> None:
    result = run(run_folder, "--jobs", jobs)
    assert result.exit_code == 0, result.output
    assert "  12 episodes of 12 replayed, " in result.output
    assert "  5 files are as the run wrote them" in result.output
    assert "error" not in result.output


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "next_observation": lambda e: e["steps"][1].update(next_observation="You see a unicorn 1."),
    "observation": lambda e: e["steps"][0].update(observation="Somewhere else."),
    "admissible_commands": lambda e: e["steps"][0]["admissible_commands"].append("open sesame 1"),
    "success": lambda e: e.update(success=False),
    "reward": lambda e: e["steps"][-1].update(reward=0.5),
    "won": lambda e: e["steps"][0].update(won=True),
    "problem": lambda e: e["steps"][0].update(problem="not admissible"),
    "task": lambda e: e.update(task="put a pen in desk."),
    "task_type": lambda e: e.update(task_type="look_at_obj_in_light2"),
    "grammar": lambda e: e.update(grammar="put"),
    "length": lambda e: e["steps"].append(e["steps"][-1]),
    "record": lambda e: e["steps"][0].update(command=7),
}


@pytest.mark.parametrize("about", CHANGES)
def test_every_changed_record_is_found(run_folder: Path, about: str) -> None:
    change_episode(run_folder, 3, CHANGES[about])
    code, wrong = found(run_folder)
    assert code == 2
    assert wrong[f"replay: {about}"][0].startswith("episode 3 (")


def test_a_game_that_is_not_at_hand_is_a_fault_that_names_the_way_out(run_folder: Path) -> None:
    change_episode(run_folder, 3, lambda episode: episode.update(game_id="nowhere/t1"))
    code, wrong = found(run_folder)
    assert (code, list(wrong)) == (2, ["replay: unknown_games"])
    assert "'nowhere/t1' at hand; name the folder that holds it with --source" in wrong["replay: unknown_games"][0]


def test_games_that_moved_are_found_where_source_says(run_folder: Path, played: Path, tmp_path: Path) -> None:
    stamp = json.loads((run_folder / "run.json").read_text())
    stamp["config"]["games"]["source"] = str(tmp_path / "gone")
    (run_folder / "run.json").write_text(json.dumps(stamp))
    assert found(run_folder)[0] == 2
    assert found(run_folder, "--source", played.parent / "data") == (0, {})


def test_generated_games_are_made_again(tmp_path: Path) -> None:
    job = start_run(build_config(CollectConfig, ["games.source=generate", "num_episodes=4"]), tmp_path, name="run")
    with job.run:
        collect(job)
    assert found(tmp_path / "run") == (0, {})
    change_episode(tmp_path / "run", 2, CHANGES["next_observation"])
    assert found(tmp_path / "run")[0] == 2


def test_generated_games_of_an_evaluation_are_made_again(tmp_path: Path) -> None:
    words = ["games.source=generate", "num_games=3", "repeats=2"]
    job = start_evaluation(build_config(EvaluateConfig, words), tmp_path, name="run")
    with job.run:
        evaluate(job)
    assert found(tmp_path / "run") == (0, {})


def test_a_changed_or_missing_dataset_file_is_found(run_folder: Path) -> None:
    (run_folder / "val.csv").unlink()
    with (run_folder / "train.csv").open("a") as file:
        file.write("x")
    code, wrong = found(run_folder)
    assert code == 2
    assert set(wrong) == {"files: missing", "files: changed"}


def test_games_in_both_splits_are_found(run_folder: Path) -> None:
    shutil.copy(run_folder / "val.parquet", run_folder / "train.parquet")
    code, wrong = found(run_folder)
    assert code == 2
    assert set(wrong) == {"files: changed", "games: in_both"}
    assert wrong["games: in_both"][0].endswith("split by game, as 'alfworld-sft collect' does")


@pytest.mark.parametrize("allowed", [False, True])
def test_evaluation_games_in_training_data_are_found(tmp_path: Path, allowed: bool) -> None:
    games = write_games(tmp_path / "data", 6, "valid_seen")
    options = [f"games.source={games}", "games.split=valid_seen", "games.allow_eval_split=true"]
    job = start_run(build_config(CollectConfig, options), tmp_path, name="run")
    with job.run:
        collect(job)
    stamp = json.loads((tmp_path / "run" / "run.json").read_text())
    stamp["games"]["eval_split_allowed"] = allowed
    (tmp_path / "run" / "run.json").write_text(json.dumps(stamp))
    code, wrong = found(tmp_path / "run")
    assert (code, list(wrong)) == (0 if allowed else 2, ["games: evaluation"])
    assert wrong["games: evaluation"][0].startswith("6 games (")


def test_evaluation_games_are_known_by_their_place_where_rows_do_not_say_it(tmp_path: Path) -> None:
    games = write_games(tmp_path / "data", 6, "valid_seen")
    (folder,) = (games / "json_2.1.1" / "valid_seen").glob("*-Mug-None-Shelf-*")
    row = {**RECORDS[0], "extra_info": json.dumps({"game_id": f"{folder.name}/t1"})}
    write(tmp_path / "train.parquet", [row])
    code, wrong = found(tmp_path / "train.parquet", "--source", games)
    assert (code, list(wrong)) == (2, ["games: evaluation"])


def test_copied_episodes_are_a_warning(run_folder: Path) -> None:
    journal = run_folder / "episodes.jsonl"
    copy = json.loads(journal.read_text().splitlines()[0]) | {"index": 12}
    with journal.open("a") as file:
        file.write(json.dumps(copy) + "\n")
    code, wrong = found(run_folder)
    assert code == 0
    assert wrong == {"replay: copies": ["1 episode is a copy of an earlier one: same game, same replies"]}


def test_a_torn_last_line_and_a_failed_episode_are_warnings_and_nothing_is_written(run_folder: Path) -> None:
    journal = run_folder / "episodes.jsonl"
    with journal.open("a") as file:
        file.write(json.dumps({"index": 20, "game_id": "x", "error": "no game"}) + '\n{"index": 21, "ga')
    before = journal.read_bytes()
    code, wrong = found(run_folder)
    assert (code, set(wrong)) == (0, {"replay: failed", "replay: torn"})
    assert journal.read_bytes() == before


def test_a_line_that_is_no_episode_is_named(run_folder: Path) -> None:
    (run_folder / "episodes.jsonl").write_text('{"index": 0}\n')
    assert "the line at byte 0 is no episode" in str(run(run_folder).exception)


def test_hostile_records_are_printed_as_text(run_folder: Path) -> None:
    change_episode(run_folder, 3, lambda episode: episode["steps"][0].update(next_observation="\x1b[2J[red]x[/red]\n!"))
    result = run(run_folder)
    assert result.exit_code == 2
    assert "\x1b" not in result.output
    assert "[red]x[/red]" in result.output


def test_episodes_that_a_finished_run_has_lost_are_a_fault(run_folder: Path) -> None:
    journal = run_folder / "episodes.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:7]))
    code, wrong = found(run_folder)
    assert code == 2
    assert wrong["replay: lost"] == ["episodes.jsonl lacks 5 episodes that run.json counts"]


def test_files_are_compared_with_the_stamp_also_without_a_journal(run_folder: Path) -> None:
    (run_folder / "episodes.jsonl").unlink()
    (run_folder / "val.csv").unlink()
    code, wrong = found(run_folder)
    assert code == 2
    assert wrong["files: journal"] == ["there is no episodes.jsonl, so no episode was replayed"]
    assert [text.partition(";")[0] for text in wrong["files: missing"]] == ["val.csv is missing"]
