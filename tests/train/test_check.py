"""Preflight and mask viewer: what is wrong is told in a line each, and hostile text cannot steer the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from alfworld_sft.dataset.read import Columns
from alfworld_sft.errors import UserError
from alfworld_sft.train.check import Report, check_dataset, escape_controls
from alfworld_sft.train.check_cli import check
from tests.train.helpers_data import rows, tiny_tokenizer, wandering, write

RECORDS = rows([wandering(0, turns=3, noisy=(1,)), wandering(1, turns=2)])
OTHERS = rows([wandering(2, turns=3)])


def report_on(tmp_path: Path, train: list[dict[str, Any]], val: list[dict[str, Any]], columns: Columns) -> Report:
    return check_dataset([write(tmp_path / "t.parquet", train)], [write(tmp_path / "v.parquet", val)], columns)


def test_a_good_dataset_has_facts_and_no_complaints(tmp_path: Path) -> None:
    report = report_on(tmp_path, RECORDS, OTHERS, Columns(multiturn=True))
    assert (report.problems, report.warnings) == ([], [])
    assert report.facts[0] == (
        "train",
        "4 rows; 2 episodes; 2 games; 2 episodes won; 2 untrained turns in their contexts;"
        " roles assistant 8, user 8; replies with <think> 4, <prediction> 4, <action> 4",
    )


def test_games_that_are_both_in_train_and_val_are_told(tmp_path: Path) -> None:
    report = report_on(tmp_path, RECORDS, RECORDS[2:], Columns())
    (warning,) = report.warnings
    assert warning.startswith("1 game is both in train and val (pick_and_place_simple-Mug-None-Desk-1/")


def test_replies_unlike_the_others_are_told(tmp_path: Path) -> None:
    odd = {**RECORDS[0], "response_data": {"content": "<think>x</think> I look"}}
    torn = {**RECORDS[0], "response_data": {"content": "<think>x <prediction>p</prediction><action>look</action>"}}
    report = report_on(tmp_path, [*RECORDS, odd, torn], OTHERS, Columns())
    assert report.warnings == [
        "train: <think> and </think> do not pair in 1 of 6 replies",
        "train: 1 of 6 replies lacks the one <prediction>…</prediction> that the others have",
        "train: 1 of 6 replies lacks the one <action>…</action> that the others have",
    ]


def test_wrong_rows_are_told_one_by_one_up_to_five(tmp_path: Path) -> None:
    report = report_on(tmp_path, RECORDS * 2, [], Columns(prompt_dict_keys=("question",)))
    assert len(report.problems) == 6
    assert report.problems[0].startswith(
        f"{tmp_path}/t.parquet row 0: 'prompt_data' has no key 'question', only content; set data."
    )
    assert report.problems[5] == f"{tmp_path}/t.parquet: 3 more rows like these"


def test_an_empty_file_is_a_problem_for_training_and_a_warning_for_validation(tmp_path: Path) -> None:
    report = report_on(tmp_path, [], RECORDS, Columns())
    assert report.problems == ["train: there are no rows"]
    report = report_on(tmp_path, RECORDS, [], Columns())
    assert (report.problems, report.warnings) == ([], ["val: there are no rows"])


def test_control_characters_are_spelt_out() -> None:
    assert escape_controls("a\x1b[31mb\n\u202ec日") == "a\\x1b[31mb\n\\u202ec日"


app = typer.Typer()
app.command()(check)


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
    assert [line for line in result.output.splitlines() if not line.startswith(" ")] == ["single-turn", "multi-turn"]


def test_the_command_fails_on_a_dataset_that_cannot_be_trained_on(dataset: Path) -> None:
    result = run(dataset, "data.prompt_dict_keys=[question]", "data.multiturn.enable=false")
    assert result.exit_code == 2
    assert f"error: {dataset}/train.parquet row 0: 'prompt_data' has no key 'question'" in result.output


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
    folder = tmp_path_factory.mktemp("model")
    tiny_tokenizer("word").save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    return folder


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
