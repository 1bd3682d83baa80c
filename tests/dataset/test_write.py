import csv
import gc
import json
import sys

import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from alfworld_sft.dataset.rows import Rendering, rows_of
from alfworld_sft.dataset.write import DATA_FILES, SCHEMA, RowWriter, dataset_files, raw_trajectory
from alfworld_sft.prompts.template import load_template
from tests.episodes import episode, step

RENDERING = Rendering(load_template("add_wm1"))
NESTED = ("messages", "prompt_data", "response_data")
csv.field_size_limit(sys.maxsize)


@pytest.fixture
def folder(tmp_path):
    awkward = step(1, action='say "hi", né\n"x"')
    with dataset_files(tmp_path) as files:
        for played in (episode(0), episode(1, steps=(awkward,)), episode(2, success=False)):
            files.write(raw_trajectory(played, RENDERING), rows_of(played, RENDERING), held_out=played.index == 2)
    return tmp_path


def test_the_five_files_appear(folder):
    assert sorted(file.name for file in folder.iterdir()) == sorted(DATA_FILES)


def test_parquet_has_the_documented_columns(folder):
    assert pq.read_schema(folder / "train.parquet").remove_metadata() == SCHEMA


def test_csv_and_parquet_hold_the_same_values_for_the_standard_library(folder):
    expected = pq.read_table(folder / "train.parquet").to_pylist()
    with (folder / "train.csv").open(newline="", encoding="utf-8") as file:
        rows = [{k: json.loads(v) if k in NESTED else v for k, v in row.items()} for row in csv.DictReader(file)]
    assert rows == expected


def test_pandas_reads_both_to_the_same_values(folder):
    parquet = pd.read_parquet(folder / "val.parquet", dtype_backend="pyarrow").to_dict("records")
    text = pd.read_csv(folder / "val.csv").to_dict("records")
    assert [_plain(row) for row in text] == [_plain(row) for row in parquet]


def test_polars_reads_both_to_the_same_values(folder):
    parquet = pl.read_parquet(folder / "train.parquet").to_dicts()
    text = pl.read_csv(folder / "train.csv").to_dicts()
    assert [_plain(row) for row in text] == [_plain(row) for row in parquet]


def test_raw_trajectories_keep_every_episode_whole(folder):
    raw = json.loads((folder / "raw_trajectories.json").read_bytes())
    assert [len(found["steps"]) for found in raw] == [3, 1, 3]
    first = raw[0]
    assert first["success"] is True
    assert first["rewards"] == [0.0, 0.0, 1.0]
    assert first["final_reward"] == 1.0
    assert first["episode_length"] == 3
    assert first["task_info"]["game_id"] == "pick_and_place_simple-Mug-None-Desk-0/trial_T0"
    assert first["steps"][0]["reply"]["text"].count("guess 1") == 1, "the policy's own prediction stays here"
    assert "guess 1" in first["messages_list"][1]["content"]


def test_a_failure_leaves_no_file_behind(tmp_path):
    with pytest.raises(RuntimeError), dataset_files(tmp_path) as files:
        files.write(raw_trajectory(episode(0), RENDERING), rows_of(episode(0), RENDERING), held_out=False)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_an_empty_side_is_a_readable_file(tmp_path):
    with dataset_files(tmp_path) as files:
        files.write(raw_trajectory(episode(0), RENDERING), rows_of(episode(0), RENDERING), held_out=False)
    assert pq.read_table(tmp_path / "val.parquet").num_rows == 0
    assert pl.read_csv(tmp_path / "val.csv").height == 0


def _plain(row):
    plain = {}
    for key, value in row.items():
        if isinstance(value, str) and key in NESTED:
            value = json.loads(value)  # noqa: PLW2901
        plain[key] = json.loads(json.dumps(value, default=list))
    return plain


def test_an_interruption_while_the_files_are_closed_leaves_nothing_and_says_nothing(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), dataset_files(tmp_path):
        monkeypatch.setattr(RowWriter, "close", interrupt)
    gc.collect()
    assert (list(tmp_path.iterdir()), said) == ([], [])
