"""Files → rows: forms of the columns, and errors that say which option mends them. Needs no torch."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from alfworld_sft.errors import DatasetError
from alfworld_sft.train.table import Columns, Row, dataset_file, read_rows, to_row
from alfworld_sft.types import Message
from tests.train.helpers_data import messages, rows, wandering, write

RECORDS = rows([wandering(0, turns=3, noisy=(1,)), wandering(1, turns=2)])
SINGLE, MULTI = Columns(), Columns(multiturn=True)


def read_one(record: dict[str, Any], columns: Columns = SINGLE) -> Row:
    return to_row(record, columns, "train.parquet row 0")


def test_the_label_of_prompt_data_is_removed() -> None:
    row = read_one({"prompt_data": {"content": "user: Your task: user: x"}, "response_data": {"content": "look"}})
    assert row.prompt == (Message("user", "Your task: user: x"),)


@pytest.mark.parametrize(
    "value",
    [
        {"content": "go"},
        "go",
        '{"content": "go"}',
        [{"role": "user", "content": "go"}],
        '[{"role":"user","content":"go"}]',
    ],
    ids=["struct", "text", "JSON", "messages", "JSON messages"],
)
def test_a_prompt_may_be_a_struct_a_text_its_json_or_messages(value: object) -> None:
    assert read_one({"prompt_data": value, "response_data": "look"}).prompt == (Message("user", "go"),)


def test_trl_columns_are_read_with_their_keys() -> None:
    columns = Columns(prompt_key="prompt", response_key="completion", prompt_dict_keys=None, response_dict_keys=None)
    record = {
        "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "go"}],
        "completion": [{"role": "assistant", "content": "look"}],
    }
    row = read_one(record, columns)
    assert (row.prompt, row.response) == ((Message("system", "s"), Message("user", "go")), "look")


def test_text_that_looks_like_json_stays_text_without_dict_keys() -> None:
    columns = Columns(prompt_dict_keys=None, response_dict_keys=None)
    row = read_one({"prompt_data": '{"content": "go"}', "response_data": "[1]"}, columns)
    assert (row.prompt[0].content, row.response) == ('{"content": "go"}', "[1]")


def test_parquet_csv_and_json_lines_give_the_same_rows(tmp_path: Path) -> None:
    columns = Columns(multiturn=True, next_state=True)
    parquet = write(tmp_path / "x.parquet", RECORDS)
    with (tmp_path / "x.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, RECORDS[0])
        writer.writeheader()
        writer.writerows({k: v if isinstance(v, str) else json.dumps(v) for k, v in r.items()} for r in RECORDS)
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    read = [list(read_rows([tmp_path / f"x.{end}"], columns)) for end in ("parquet", "csv", "jsonl")]
    facts = [[(r.messages, r.prompt, r.response, r.untrained, r.extra) for r in some] for some in read]
    assert facts[0] == facts[1] == facts[2]
    assert facts[0][1][0] == messages(RECORDS[1])
    assert parquet.exists()


def test_untrained_turns_count_from_zero() -> None:
    assert [sorted(row.untrained) for row in (read_one(r, MULTI) for r in RECORDS)] == [[0], [0], [], []]


def test_a_folder_means_its_file(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").touch()
    assert dataset_file(str(tmp_path), "x.parquet", "data.train_files") == tmp_path / "x.parquet"


def error_of(record: dict[str, Any], columns: Columns) -> str:
    with pytest.raises(DatasetError) as caught:
        read_one(record, columns)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_key_error_question_says_which_key_there_is() -> None:
    message = error_of(RECORDS[0], Columns(prompt_dict_keys=("question",)))
    assert message == (
        "train.parquet row 0: 'prompt_data' has no key 'question', only content; set data.prompt_dict_keys=[content]"
    )


def test_dict_object_has_no_element_0_says_which_column_holds_messages() -> None:
    message = error_of(RECORDS[0], Columns(multiturn=True, messages_key="prompt_data"))
    assert message == (
        "train.parquet row 0: 'prompt_data' holds a struct (content), not a list of messages;"
        " set data.multiturn.messages_key=messages, or train single-turn with data.multiturn.enable=false"
    )


def test_a_struct_without_dict_keys_says_which_to_set() -> None:
    message = error_of(RECORDS[0], Columns(prompt_dict_keys=None))
    assert message.endswith("'prompt_data' holds a struct (content), not text; set data.prompt_dict_keys=[content]")


def test_a_missing_file_names_those_that_are_there(tmp_path: Path) -> None:
    write(tmp_path / "val.parquet", RECORDS)
    with pytest.raises(DatasetError) as caught:
        dataset_file(tmp_path / "train.parquet", "train.parquet", "data.train_files")
    assert str(caught.value) == (
        f"data.train_files={tmp_path}/train.parquet: there is no such file; {tmp_path} holds val.parquet"
    )


def test_a_missing_folder_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"there is no folder .*nowhere; give the folder that 'alfworld-sft collect'"
    ):
        dataset_file(tmp_path / "nowhere" / "train.parquet", "train.parquet", "data.train_files")


def test_a_missing_column_is_told_with_the_option_and_a_likely_one(tmp_path: Path) -> None:
    file = write(tmp_path / "x.parquet", RECORDS)
    with pytest.raises(DatasetError, match=r"no column 'question', only .*; set data.prompt_key=prompt_data"):
        list(read_rows([file], Columns(prompt_key="question")))


def test_a_file_that_is_no_parquet_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DatasetError, match=r"data.train_files=.*x.parquet: not a Parquet file"):
        list(read_rows([tmp_path / "x.parquet"], SINGLE))


@pytest.mark.parametrize(
    ("messages_", "reason"),
    [
        ([], "ends before it begins"),
        ([{"role": "user", "content": "a"}], "ends with role 'user'; its last message must be the assistant's"),
        ([{"role": "human", "content": "a"}], "message 0: unknown role 'human'; there are system, user, assistant"),
        ([{"from": "user"}], r"message 0: \{'from': 'user'\} is not a message with role and content"),
        ([{"role": "user", "content": None}], "message 0: the content is missing, not text"),
        (None, "'messages' is missing, not a list of messages"),
    ],
)
def test_a_wrong_conversation_is_told_by_its_message(messages_: object, reason: str) -> None:
    with pytest.raises(DatasetError, match=reason):
        read_one({"messages": messages_}, MULTI)


def test_only_the_columns_that_are_needed_are_read(tmp_path: Path) -> None:
    file = write(tmp_path / "x.parquet", [{"messages": RECORDS[0]["messages"]}], schema=None)
    assert pq.read_schema(file).names == ["messages"]
    assert [row.turns for row in read_rows([file], MULTI)] == [2]
