"""Dataset files → rows as a trainer reads them; every wrong key or value is one line that says which option mends it.

Parquet, CSV (nested columns as JSON) and JSON lines are read in flat memory. This module imports neither torch nor
transformers.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from alfworld_sft.dataset.rows import USER_LABEL
from alfworld_sft.errors import DatasetError
from alfworld_sft.types import Message, Role

ROWS_PER_BATCH = 256
EXTRA_INFO = "extra_info"
SUFFIXES = (".parquet", ".csv", ".jsonl")


@dataclass(frozen=True, slots=True)
class Columns:
    """Where the text of a row stands. `multiturn` reads the conversation, else prompt and response are read.

    `next_state` needs both: the prompt, and what the conversation says next.
    """

    multiturn: bool = False
    prompt_key: str = "prompt_data"
    response_key: str = "response_data"
    prompt_dict_keys: tuple[str, ...] | None = ("content",)
    response_dict_keys: tuple[str, ...] | None = ("content",)
    messages_key: str = "messages"
    next_state: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `place` names it in messages; `untrained` holds the turns without loss (from 0).

    `messages` is the conversation (empty where it is not read), `prompt` and `response` the single-turn form.
    """

    place: str
    messages: tuple[Message, ...] = ()
    prompt: tuple[Message, ...] = ()
    response: str = ""
    untrained: frozenset[int] = frozenset()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def turns(self) -> int:
        """How many replies the conversation holds."""
        return sum(message.role == "assistant" for message in self.messages)


def dataset_file(path: str | Path, name: str, option: str) -> Path:
    """Return the file that a path means: itself, or `name` (train.parquet, say) in a dataset's folder.

    Raises DatasetError where there is none.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        if (place / name).is_file():
            return place / name
        raise DatasetError(f"{option}={path}: the folder holds no {name}{_others(place)}")
    if place.is_file():
        return place
    if not place.parent.is_dir():
        raise DatasetError(
            f"{option}={path}: there is no folder {place.parent}; give the folder that 'alfworld-sft collect' made"
        )
    raise DatasetError(f"{option}={path}: there is no such file{_others(place.parent)}")


def read_rows(files: Sequence[Path], columns: Columns, option: str = "data.train_files") -> Iterator[Row]:
    """Yield the rows of files, in order. Raises DatasetError, naming file, row and option."""
    for file in files:
        for number, record in enumerate(read_records(file, wanted_columns(columns), option)):
            yield to_row(record, columns, f"{file.name} row {number}")


def read_records(file: Path, wanted: Mapping[str, str], option: str) -> Iterator[dict[str, Any]]:
    """Yield records of a file with the wanted columns (column → the option that names it) and extra_info.

    Raises DatasetError for a file that cannot be read and for a column that it lacks.
    """
    if file.suffix not in SUFFIXES:
        raise DatasetError(f"{option}={file}: not a {', '.join(SUFFIXES)} file")
    try:
        if file.suffix == ".parquet":
            yield from _parquet_records(file, wanted)
        else:
            read = _csv_records if file.suffix == ".csv" else _json_records
            for number, record in enumerate(read(file)):
                if number == 0:
                    _check_columns(file, list(record), wanted)
                yield record
    except pa.ArrowInvalid as error:
        raise DatasetError(f"{option}={file}: not a Parquet file ({str(error).splitlines()[0]})") from None
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise DatasetError(f"{option}={file}: cannot be read as {file.suffix[1:]}: {error}") from None


def to_row(record: Mapping[str, Any], columns: Columns, place: str) -> Row:
    """Return a record as a Row; raises DatasetError for what is not in the form that the options say."""
    messages: tuple[Message, ...] = ()
    prompt: tuple[Message, ...] = ()
    response = ""
    if columns.multiturn or columns.next_state:
        messages = _conversation(record.get(columns.messages_key), place, columns.messages_key)
    if not columns.multiturn or columns.next_state:
        prompt = _prompt(record.get(columns.prompt_key), columns, place)
        response = _response(record.get(columns.response_key), columns, place)
    extra = parse_extra_info(record.get(EXTRA_INFO))
    untrained = frozenset(turn - 1 for turn in extra.get("untrained_turns") or () if isinstance(turn, int))
    return Row(place, messages, prompt, response, untrained, extra)


def parse_extra_info(value: object) -> dict[str, Any]:
    """Return extra_info as a dict, whether it is stored as a struct or as a JSON string; empty where it is neither."""
    parsed = _parse(value) if isinstance(value, str) else value
    return dict(parsed) if isinstance(parsed, Mapping) else {}


def wanted_columns(columns: Columns) -> dict[str, str]:
    """Return the columns that are read, each with the option that names it."""
    wanted: dict[str, str] = {}
    if columns.multiturn or columns.next_state:
        wanted[columns.messages_key] = "data.multiturn.messages_key"
    if not columns.multiturn or columns.next_state:
        wanted[columns.prompt_key] = "data.prompt_key"
        wanted[columns.response_key] = "data.response_key"
    return wanted


def _parquet_records(file: Path, wanted: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(file) as table:
        names = table.schema_arrow.names
        _check_columns(file, names, wanted)
        read = [name for name in (*wanted, EXTRA_INFO) if name in names]
        for batch in table.iter_batches(ROWS_PER_BATCH, columns=read):
            yield from batch.to_pylist()


def _csv_records(file: Path) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(sys.maxsize)
    with file.open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


def _json_records(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            record = json.loads(line)
            if not isinstance(record, dict):
                raise DatasetError(f"{file.name} line {number}: not a JSON object")
            yield record


def _check_columns(file: Path, names: Sequence[str], wanted: Mapping[str, str]) -> None:
    for column, option in wanted.items():
        if column not in names:
            close = get_close_matches(column, names, 1) or [name for name in _USUAL[option] if name in names]
            way_out = f"set {option}={close[0]}" if close else f"set {option} to one of them"
            raise DatasetError(f"{file}: no column '{column}', only {', '.join(names)}; {way_out}")


_USUAL = {
    "data.prompt_key": ("prompt_data", "prompt", "question"),
    "data.response_key": ("response_data", "completion", "response", "answer"),
    "data.multiturn.messages_key": ("messages", "conversations"),
}


def _conversation(value: object, place: str, key: str) -> tuple[Message, ...]:
    """Return the messages of a row, checked: known roles, text contents, an assistant message at the end."""
    option = "data.multiturn.messages_key"
    parsed = _parse(value) if isinstance(value, str) else value
    if isinstance(parsed, Mapping):  # verl says of this: dict object has no element 0
        raise DatasetError(
            f"{place}: '{key}' holds a struct ({', '.join(parsed)}), not a list of messages;"
            f" set {option}=messages, or train single-turn with data.multiturn.enable=false"
        )
    if not isinstance(parsed, Sequence) or isinstance(parsed, str):
        raise DatasetError(
            f"{place}: '{key}' is {_shown(value)}, not a list of messages; set {option} to the column that holds one"
        )
    messages = tuple(_message(item, f"{place}, message {number}") for number, item in enumerate(parsed))
    if not messages or messages[-1].role != "assistant":
        ending = f"with role '{messages[-1].role}'" if messages else "before it begins"
        raise DatasetError(f"{place}: the conversation ends {ending}; its last message must be the assistant's")
    return messages


def _message(item: object, place: str) -> Message:
    if not isinstance(item, Mapping) or not {"role", "content"} <= item.keys():
        raise DatasetError(f"{place}: {_shown(item)} is not a message with role and content")
    if item["role"] not in get_args(Role):
        raise DatasetError(f"{place}: unknown role {_shown(item['role'])}; there are {', '.join(get_args(Role))}")
    if not isinstance(item["content"], str):
        raise DatasetError(f"{place}: the content is {_shown(item['content'])}, not text")
    return Message(item["role"], item["content"])


def _prompt(value: object, columns: Columns, place: str) -> tuple[Message, ...]:
    """Return the messages that ask: the row's own list, or its text as a user's message, without the label."""
    text = _walk(value, columns.prompt_dict_keys, place, columns.prompt_key, "data.prompt_dict_keys")
    if isinstance(text, str):
        return (Message("user", text.removeprefix(USER_LABEL)),)
    return tuple(_message(item, f"{place}, '{columns.prompt_key}'") for item in text)


def _response(value: object, columns: Columns, place: str) -> str:
    found = _walk(value, columns.response_dict_keys, place, columns.response_key, "data.response_dict_keys")
    if isinstance(found, str):
        return found
    if len(found) != 1:
        raise DatasetError(f"{place}: '{columns.response_key}' holds {len(found)} messages; one is needed")
    return _message(found[0], f"{place}, '{columns.response_key}'").content


def _walk(value: object, keys: Sequence[str] | None, place: str, column: str, option: str) -> str | list[object]:
    """Follow the keys from a column's value to its text (or to a list of messages); text itself needs no keys."""
    if keys and isinstance(value, str):
        parsed = _parse(value)
        if isinstance(parsed, Mapping) or (isinstance(parsed, list) and parsed and isinstance(parsed[0], Mapping)):
            value = parsed
    for key in keys or ():
        if isinstance(value, str | list):
            break
        if not isinstance(value, Mapping):
            raise DatasetError(f"{place}: '{column}' is {_shown(value)}, not text; is the row complete?")
        if key not in value:  # older verl says of this: KeyError: 'question'
            raise DatasetError(
                f"{place}: '{column}' has no key '{key}', only {', '.join(value)};"
                f" set {option}=[{next(iter(value), 'content')}]"
            )
        value = value[key]
    if isinstance(value, Mapping):
        raise DatasetError(
            f"{place}: '{column}' holds a struct ({', '.join(value)}), not text; set {option}=[{next(iter(value), '')}]"
        )
    if not isinstance(value, str | list) or not value:
        raise DatasetError(f"{place}: '{column}' is {_shown(value)}, not text; is the row complete?")
    return value


def _parse(text: str) -> object:
    """Return the JSON value of a text that looks like a list or an object, else the text."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _shown(value: object) -> str:
    text = repr(value)
    return "missing" if value is None else "empty" if value == "" else text if len(text) < 60 else f"{text[:57]}…"


def _others(folder: Path) -> str:
    names = sorted(file.name for file in folder.iterdir() if file.suffix in SUFFIXES)
    return f"; {folder} holds {', '.join(names[:8])}" if names else f"; {folder} holds no dataset files"
