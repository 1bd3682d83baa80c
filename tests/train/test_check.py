"""Preflight: what is wrong is reported in a line each, and hostile text cannot steer the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alfworld_sft.dataset.read import Columns
from alfworld_sft.train.check import Report, check_dataset
from tests.train.helpers_data import rows, wandering, write

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


def test_copied_rows_are_counted_and_games_are_known_with_their_split(tmp_path: Path) -> None:
    report = report_on(tmp_path, [*RECORDS, RECORDS[0], RECORDS[0]], OTHERS, Columns())
    assert (report.files["train"].duplicates, report.files["val"].duplicates) == (2, 0)
    assert set(report.files["train"].splits.values()) == {"train"}


def test_rows_that_name_no_episode_or_game_are_counted_as_training_takes_them(tmp_path: Path) -> None:
    unnamed = [
        {**row, "extra_info": json.dumps({**json.loads(row["extra_info"]), "episode_id": None, "game_id": None})}
        for row in RECORDS
    ]
    report = report_on(tmp_path, unnamed, OTHERS, Columns(multiturn=True))
    assert (len(report.files["train"].episodes), report.files["train"].games) == (2, set())


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
