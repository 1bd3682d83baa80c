"""Files → rows: forms of the columns, and errors that say which option mends them. Needs no torch."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from alfworld_sft.dataset.read import Columns, TrainingRow, dataset_file, parse_row, read_rows, refuse_duplicates
from alfworld_sft.errors import DatasetError
from alfworld_sft.train.check import check_dataset
from alfworld_sft.train.config import build_train_config
from alfworld_sft.train.data.inputs import check_inputs, train_files, val_files
from alfworld_sft.types import Message
from tests.train.helpers_data import WM, messages, rows, wandering, write

RECORDS = rows([wandering(0, turns=3, noisy=(1,)), wandering(1, turns=2)])
SINGLE, MULTI = Columns(), Columns(multiturn=True)


def read_one(record: dict[str, Any], columns: Columns = SINGLE) -> TrainingRow:
    return parse_row(record, columns, "train.parquet row 0")


def test_the_label_of_prompt_data_is_removed() -> None:
    row = read_one({"prompt_data": {"content": "user: Your task: user: x"}, "response_data": {"content": "look"}})
    assert row.prompt == (Message("user", "Your task: user: x"),)


def test_a_message_in_a_struct_is_read_as_one_in_a_list() -> None:
    said = {"role": "assistant", "content": "go", "reasoning_content": "because", "weight": 0}
    record = {"prompt_data": {"role": "system", "content": "s"}, "response_data": said}
    row = read_one(record)
    assert row == read_one({"prompt_data": [record["prompt_data"]], "response_data": [said]})
    assert (row.prompt, row.response) == ((Message("system", "s"),), "<think>because</think>\ngo")
    assert not row.response_trained
    assert error_of({"prompt_data": "go", "response_data": {"role": "user", "content": "go"}}, SINGLE) == (
        "train.parquet row 0: 'response_data' is a message of role 'user', not of the assistant"
    )


@pytest.mark.parametrize("response", ["look\ud83d", [{"role": "assistant", "content": "look\ud83d"}]])
def test_half_a_character_is_named(response: object) -> None:
    assert "'look\\ud83d' ends with half a character" in error_of(
        {"prompt_data": "go", "response_data": response}, SINGLE
    )


@pytest.mark.parametrize(
    "value",
    [
        {"content": "go"},
        "go",
        '{"content": "go"}',
        {"role": "user", "content": "user: go"},
        {"role": None, "content": "user: go"},
        [{"role": "user", "content": "go"}],
        '[{"role":"user","content":"go"}]',
    ],
    ids=["struct", "text", "JSON", "message", "no role", "messages", "JSON messages"],
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


@pytest.mark.parametrize("turns", [[1, 3], [1.0, 3.0], ["1", "3"], "[1, 3]", ["3.0", 1, 1]])
def test_untrained_turns_are_read_as_whole_numbers_however_they_are_stored(turns: object) -> None:
    record = {**RECORDS[0], "extra_info": json.dumps({"untrained_turns": turns})}
    assert read_one(record, MULTI).untrained == {0, 2}


@pytest.mark.parametrize(
    "turns", [[1.5], [True], [0], [-1], ["one"], [None], "none", 3, {"1": True}, [[1]], float("nan")]
)
def test_untrained_turns_that_cannot_be_read_are_an_error(turns: object) -> None:
    message = error_of({**RECORDS[0], "extra_info": {"untrained_turns": turns}}, MULTI)
    assert message.startswith("train.parquet row 0: extra_info.untrained_turns is ")
    assert message.endswith("; it must be a list of turns, counted from 1")


@pytest.mark.parametrize(
    "nothing", [None, "", "{}", {}, float("nan"), {"untrained_turns": None}, {"untrained_turns": []}]
)
def test_without_extra_info_every_reply_is_trained(nothing: object) -> None:
    assert read_one({**RECORDS[0], "extra_info": nothing}, MULTI).untrained == frozenset()


def test_extra_info_as_pandas_writes_it_is_read() -> None:
    row = read_one({**RECORDS[0], "extra_info": "{'untrained_turns': [2], 'split': 'train'}"}, MULTI)
    assert (row.untrained, row.extra["split"]) == ({1}, "train")


@pytest.mark.parametrize("value", ['{"untrained_turns": [1', "mistake in turn 1", [1], 7, "{'turns': array([1])}"])
def test_extra_info_that_cannot_be_read_is_an_error(value: object) -> None:
    message = error_of({**RECORDS[0], "extra_info": value}, MULTI)
    assert message.startswith("train.parquet row 0: extra_info is ")
    assert message.endswith("; fix or remove the column: it may say which turns are not to be trained")


def test_flags_of_messages_are_untrained_turns() -> None:
    talk = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "weight": 0},
        {"role": "user", "content": "b", "weight": None},
        {"role": "assistant", "content": "look", "weight": 1, "name": "agent"},
    ]
    row = read_one({"messages": talk}, MULTI)
    assert (row.untrained, row.notes) == ({0}, ("the key 'name' of a message is not read",))


def test_an_empty_reply_is_refused_where_it_would_be_trained() -> None:
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": " \n"}]
    assert error_of({"messages": talk}, MULTI) == (
        "train.parquet row 0, message 1: the reply is empty, and would teach the model to end at once;"
        " drop the row, or keep the reply as context with 'weight': 0"
    )
    assert read_one({"messages": talk, "extra_info": {"untrained_turns": [1]}}, MULTI).untrained == {0}
    assert error_of({"prompt_data": "go", "response_data": "  "}, SINGLE).startswith(
        "train.parquet row 0, 'response_data': the reply is empty"
    )


def test_the_response_of_a_single_turn_may_be_marked_as_context() -> None:
    columns = Columns(response_dict_keys=None)
    said = {"role": "assistant", "content": "look"}
    record = {"prompt_data": "go", "response_data": [said]}
    assert read_one(record, columns).response_trained
    assert not read_one({**record, "response_data": [{**said, "train": False}]}, columns).response_trained
    assert not read_one({**record, "extra_info": {"turn": 2, "untrained_turns": [2.0]}}, columns).response_trained


def as_csv(path: Path, records: list[dict[str, Any]], write: Any = json.dumps, **options: Any) -> Path:
    with path.open("w", newline="", encoding=options.pop("encoding", "utf-8")) as file:
        writer = csv.DictWriter(file, records[0], **options)
        writer.writeheader()
        writer.writerows({k: v if isinstance(v, str) else write(v) for k, v in r.items()} for r in records)
    return path


@pytest.mark.parametrize(
    ("write_cell", "options"),
    [
        (repr, {}),
        (json.dumps, {"delimiter": ";"}),
        (json.dumps, {"delimiter": "\t"}),
        (json.dumps, {"encoding": "utf-8-sig"}),
        (repr, {"encoding": "utf-8-sig", "delimiter": ";"}),
    ],
    ids=["pandas", "semicolons", "tabs", "byte-order mark", "all of it"],
)
def test_csv_files_of_other_programs_give_the_same_rows(
    tmp_path: Path, write_cell: Any, options: dict[str, Any]
) -> None:
    columns = Columns(multiturn=True, next_state=True)
    expected = [parse_row(record, columns, "") for record in RECORDS]
    read = list(read_rows([as_csv(tmp_path / "x.csv", RECORDS, write_cell, **options)], columns))
    assert [(r.messages, r.prompt, r.response, r.untrained) for r in read] == [
        (r.messages, r.prompt, r.response, r.untrained) for r in expected
    ]


def test_blank_lines_and_excels_first_line_are_passed_over(tmp_path: Path) -> None:
    file = as_csv(tmp_path / "x.csv", RECORDS, delimiter=";")
    file.write_text("sep=;\n" + file.read_text() + "\n;;;;;;\n  \n")
    assert len(list(read_rows([file], SINGLE))) == len(RECORDS)
    lines = tmp_path / "x.jsonl"
    lines.write_text("\ufeff" + "".join(json.dumps(record) + "\n\n" for record in RECORDS) + "  \n")
    assert len(list(read_rows([lines], SINGLE))) == len(RECORDS)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            "prompt_data,response_data\nYou see a desk, and more,look\n",
            "line 2: the row has more cells than the header",
        ),
        ("prompt_data,response_data\ngo,look\ngo\n", "line 3: the row has fewer cells than the header; is the file"),
        ('prompt_data,response_data\ngo,"look\ngo,look\n', "line 2: unexpected end of data; quotes inside a cell must"),
        ('prompt_data,response_data\n"{\\"content\\": 1}",look\n', "line 2: ',' expected after '\"'; quotes inside"),
        (
            f"prompt_data,response_data\ngo,{'x' * 32767}\n",
            "line 2: 'response_data': it has 32,767 characters, the most",
        ),
    ],
    ids=["unquoted comma", "torn row", "open quote", "escaped quotes", "Excel"],
)
def test_a_csv_row_that_is_torn_or_split_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(DatasetError) as caught:
        list(read_rows([tmp_path / "x.csv"], SINGLE))
    assert str(caught.value).startswith(f"{tmp_path}/x.csv {reason}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"a": "x"}\n\n{"a": ', "line 3: not JSON (Expecting value at character 7); write one object a line"),
        ('{"a": ' + "1" * 5000 + "}", "line 1: not read (Exceeds the limit"),
        ('[\n{"a": 1}]', "line 1: not JSON (Expecting value at character 3); write one object a line"),
        ('[{"a": 1}]', "line 1: not a JSON object; write one object a line"),
    ],
)
def test_a_wrong_line_of_json_is_named_by_its_number(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "x.jsonl").write_text(content)
    with pytest.raises(DatasetError) as caught:
        list(read_rows([tmp_path / "x.jsonl"], Columns(prompt_key="a", response_key="a", prompt_dict_keys=None)))
    assert str(caught.value).startswith(f"{tmp_path}/x.jsonl {reason}")


def test_a_file_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("prompt_data,response_data\ngo,look\n".encode("utf-16"))
    with pytest.raises(DatasetError, match=r"x.csv: not UTF-8 text \(invalid start byte\); save it as UTF-8"):
        list(read_rows([tmp_path / "x.csv"], SINGLE))


@pytest.mark.parametrize("column", ["prompt_data", "response_data", "messages"])
@pytest.mark.parametrize("cut", ['{"content": "user: go', "[{'role': 'user', 'content': 'go", "{'content': nan}"])
def test_text_that_looks_like_a_literal_and_is_none_is_refused(column: str, cut: str) -> None:
    message = error_of({**RECORDS[0], column: cut}, Columns(multiturn=True, next_state=True))
    assert message.startswith(f"train.parquet row 0: '{column}' is ")
    assert "; write Parquet (DataFrame.to_parquet) or JSON lines instead" in message


def test_text_that_spells_another_list_is_refused_with_the_option_that_keeps_it() -> None:
    message = error_of({"prompt_data": "['go', 'look']", "response_data": "look"}, SINGLE)
    assert message.endswith(
        "is text that spells a list, \"['go', 'look']\"; to train it as it stands: data.prompt_dict_keys=null"
    )
    assert error_of({"prompt_data": "[]", "response_data": "look"}, SINGLE) == (
        "train.parquet row 0: 'prompt_data' is [], not text; is the row complete?"
    )


@pytest.mark.parametrize("write_cell", [repr, json.dumps])
def test_text_that_spells_messages_is_read_as_messages_without_dict_keys_too(write_cell: Any) -> None:
    columns = Columns(prompt_dict_keys=None, response_dict_keys=None)
    asked, said = [{"role": "user", "content": "go"}], [{"role": "assistant", "content": "look"}]
    row = read_one({"prompt_data": write_cell(asked), "response_data": write_cell(said)}, columns)
    assert (row.prompt, row.response) == ((Message("user", "go"),), "look")
    assert "and is not complete" in error_of({"prompt_data": repr(asked)[:-3], "response_data": "look"}, columns)


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_columns_that_would_change_training_and_are_not_read_are_named(
    tmp_path: Path, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    records = [{**row, "tools": "[]", "weight": "0"} for row in RECORDS]
    file = tmp_path / f"x.{ending}"
    if ending == "parquet":
        write(file, records, schema=None)
    elif ending == "csv":
        as_csv(file, records)
    else:
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
    check_inputs(build_train_config([f"data.train_files={file}"]))
    assert caplog.messages == [f"{file}: not read: 'tools', 'weight'"]
    assert f"{file}: not read: 'tools', 'weight'" in check_dataset([file], [], SINGLE).warnings


def test_validation_on_a_file_that_is_trained_on_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write(tmp_path / "train.parquet", RECORDS)
    check_inputs(build_train_config([f"data.train_files={file}", f"data.val_files={file}"]))
    assert caplog.messages == [f"data.val_files: {file} is trained on, so the validation loss will be too optimistic"]


def test_rows_of_two_folders_are_named_by_their_paths(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "train.parquet", RECORDS)
    places = [row.place for row in read_rows([tmp_path / name / "train.parquet" for name in ("a", "b")], SINGLE)]
    assert places[:: len(RECORDS)] == [f"{tmp_path}/a/train.parquet row 0", f"{tmp_path}/b/train.parquet row 0"]


def test_a_file_named_twice_is_an_error_by_whatever_name(tmp_path: Path) -> None:
    folder, link = tmp_path / "data", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    file = write(folder / "train.parquet", RECORDS)
    val = write(folder / "val.parquet", RECORDS)
    refuse_duplicates([file, val], "data.train_files")
    for second in (file, link / "train.parquet", tmp_path / "data" / ".." / "data" / "train.parquet"):
        with pytest.raises(
            DatasetError, match=r"^data.train_files names .*train.parquet twice.*; name each file once$"
        ):
            refuse_duplicates([file, val, second], "data.train_files")


def test_the_config_may_not_name_a_folder_twice(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", RECORDS)
    write(tmp_path / "val.parquet", RECORDS)
    for option, files in (("train", train_files), ("val", val_files)):
        twice = f"data.{option}_files=[{tmp_path},{tmp_path}/{option}.parquet]"
        with pytest.raises(DatasetError, match=f"^data.{option}_files names .* twice; name each file once$"):
            files(build_train_config([twice]))


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


def test_single_turns_of_rows_that_are_episodes_are_refused(tmp_path: Path) -> None:
    episodes = [wandering(index, turns=4) for index in range(3)]
    file = write(tmp_path / "train.parquet", rows(episodes, replace(WM, rows_per="episode")))
    with pytest.raises(DatasetError, match=r"one row for each episode, .* data\.multiturn\.enable=true"):
        check_inputs(build_train_config([f"data.train_files={file}"]))
    check_inputs(build_train_config([f"data.train_files={file}", "data.multiturn.enable=true"]))


@pytest.mark.parametrize("order", [lambda found: found, lambda found: found[::-1], lambda found: found[::3]])
def test_single_turns_of_rows_in_any_order_are_read(
    tmp_path: Path, order: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
) -> None:
    found = rows([wandering(index, turns=4) for index in range(12)])
    file = write(tmp_path / "train.parquet", order(found))
    check_inputs(build_train_config([f"data.train_files={file}"]))
