"""How are dataset files read as training rows? Each wrong key or value gives one line naming the option that fixes it.

Parquet, CSV (nested columns as JSON) and JSON lines are read in constant memory. This module imports neither torch nor
transformers.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from alfworld_sft.dataset.cells import (
    explain_unreadable,
    is_cut_by_excel,
    looks_like_messages,
    looks_nested,
    parse_cell,
)
from alfworld_sft.dataset.extra_info import (
    EXTRA_INFO,
    is_last_turn,
    lacks_turns,
    own_turn,
    parse_extra_info,
    untrained_turns,
)
from alfworld_sft.dataset.messages import (
    CALLS,
    FLAGS,
    REASONING,
    ParsedMessage,
    parse_message,
    refuse_empty,
    refuse_surrogates,
    short_repr,
)
from alfworld_sft.dataset.rows import USER_LABEL
from alfworld_sft.errors import DatasetError, os_reason
from alfworld_sft.types import Message

ROWS_PER_BATCH = 256
_FIRST_ROWS = 32
"""Rows of a file that tell how it was written."""
SUFFIXES = (".parquet", ".csv", ".jsonl")


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that hold a row's text. `multiturn` reads the conversation; otherwise prompt and response are read.

    `next_state` needs both: the prompt, and the message that follows in the conversation.
    """

    multiturn: bool = False
    prompt_key: str = "prompt_data"
    response_key: str = "response_data"
    prompt_dict_keys: tuple[str, ...] | None = ("content",)
    response_dict_keys: tuple[str, ...] | None = ("content",)
    messages_key: str = "messages"
    next_state: bool = False


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One row as a trainer reads it. `place` identifies it in error messages; `untrained`: turns without loss (from 0).

    `messages` is the conversation (empty if it is not read), `prompt` and `response` the single-turn form;
    `response_trained` is False if the response is marked as context. `notes` list what is converted or ignored.
    """

    place: str
    messages: tuple[Message, ...] = ()
    prompt: tuple[Message, ...] = ()
    response: str = ""
    untrained: frozenset[int] = frozenset()
    extra: Mapping[str, Any] = field(default_factory=dict)
    response_trained: bool = True
    notes: tuple[str, ...] = ()

    @property
    def turns(self) -> int:
        """The number of replies in the conversation."""
        return sum(message.role == "assistant" for message in self.messages)

    @property
    def game_id(self) -> str | None:
        """The game that was played, if the row names it."""
        game = self.extra.get("game_id")
        return None if game is None else str(game)


def first_rows(file: Path, columns: Columns, option: str = "DATA") -> list[TrainingRow]:
    """Return the first rows of a file as training reads them; raises DatasetError."""
    return list(islice(read_rows([file], columns, option), _FIRST_ROWS))


def stand_for_episodes(rows: Sequence[TrainingRow]) -> bool:
    """Return whether a file's first rows are of `dataset.rows_per=episode`: single turns of most replies are missing.

    Then each is of another episode, turns are missing before some, and most are their episode's last.
    """
    ids = {str(row.extra.get("episode_id", row.place)) for row in rows}
    last = sum(is_last_turn(row.extra) for row in rows)
    return len(ids) == len(rows) < 2 * last and any(lacks_turns(row.extra, row.place) for row in rows)


def dataset_file(path: str | Path, name: str, option: str) -> Path:
    """Return the file that a path stands for: itself, or `name` (e.g. train.parquet) in a dataset's folder.

    Raises DatasetError if there is none.
    """
    target = Path(path).expanduser()
    if target.is_dir():
        if (target / name).is_file():
            return target / name
        raise DatasetError(f"{option}={path}: the folder holds no {name}{_list_dataset_files(target)}")
    if target.is_file():
        return target
    if not target.parent.is_dir():
        raise DatasetError(
            f"{option}={path}: there is no folder {target.parent}; give the folder that 'alfworld-sft collect' made"
        )
    raise DatasetError(f"{option}={path}: there is no such file{_list_dataset_files(target.parent)}")


def read_rows(files: Sequence[Path], columns: Columns, option: str = "data.train_files") -> Iterator[TrainingRow]:
    """Yield the rows of files, in order. Raises DatasetError, naming file, row and option."""
    for file in files:
        for number, record in enumerate(read_records(file, wanted_columns(columns), option)):
            yield parse_row(record, columns, place_of(file, number))


def place_of(file: Path, number: int) -> str:
    """Return how error messages identify a row: by the full path, since files of several folders share their names."""
    return f"{file} row {number}"


def refuse_duplicates(files: Sequence[Path], option: str) -> None:
    """Raise DatasetError if a file is named twice, be it by its folder or a link: its rows would count twice."""
    first: dict[tuple[int, int], Path] = {}
    for file in files:
        status = file.stat()
        identity = (status.st_dev, status.st_ino)
        if identity in first:
            same = f", also as {first[identity]}" if first[identity] != file else ""
            raise DatasetError(f"{option} names {file} twice{same}; name each file once")
        first[identity] = file


def read_records(file: Path, wanted: Mapping[str, str], option: str) -> Iterator[dict[str, Any]]:
    """Yield a file's records with the wanted columns (column → the option that names it) and extra_info.

    Raises DatasetError for an unreadable file or a missing column.
    """
    if file.suffix not in SUFFIXES:
        raise DatasetError(f"{option}={file}: not a {', '.join(SUFFIXES)} file")
    try:
        if file.suffix == ".parquet":
            yield from _parquet_records(file, wanted)
        else:
            read = _csv_records if file.suffix == ".csv" else _json_records
            for number, record in enumerate(read(file, wanted)):
                if number == 0:
                    _check_columns(file, list(record), wanted)
                yield record
    except pa.ArrowInvalid as error:
        raise DatasetError(f"{option}={file}: not a Parquet file ({str(error).splitlines()[0]})") from None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{option}={file}: not UTF-8 text ({error.reason}); save it as UTF-8") from None
    except OSError as error:
        raise DatasetError(f"{option}={file}: cannot be read: {os_reason(error)}; name a file that can") from error


def unread_columns(file: Path, wanted: Mapping[str, str], option: str) -> list[str]:
    """Return the unread columns of a file that would change what is trained; raises DatasetError."""
    if file.suffix == ".parquet":
        with pq.ParquetFile(file) as table:
            names = list(table.schema_arrow.names)
    else:
        names = list(next(read_records(file, {}, option), ()))
    return [name for name in names if name in _TRAINING_COLUMNS and name not in wanted]


_TRAINING_COLUMNS = frozenset(
    {*FLAGS, *REASONING, *CALLS, "system", "tools", "functions", "documents", "images", "videos", "audios"}
    | {"completion_mask", "assistant_masks", "chat_template_kwargs"}
)


def parse_row(record: Mapping[str, Any], columns: Columns, place: str) -> TrainingRow:
    """Parse a record into a TrainingRow; raises DatasetError if it is not in the form that the options describe."""
    extra = parse_extra_info(record.get(EXTRA_INFO), place)
    untrained = untrained_turns(extra, place)

    conversation: tuple[ParsedMessage, ...] = ()
    prompt: tuple[ParsedMessage, ...] = ()
    response: ParsedMessage | None = None
    if columns.multiturn or columns.next_state:
        conversation = _read_conversation(record.get(columns.messages_key), place, columns.messages_key)
        untrained |= _context_turns(conversation)
        if columns.multiturn:
            _refuse_empty_replies(conversation, untrained, place)
    if not columns.multiturn or columns.next_state:
        prompt = _read_prompt(record.get(columns.prompt_key), columns, place)
        response = _read_response(record.get(columns.response_key), columns, place)

    trained = response is None or (response.trained and own_turn(extra) not in untrained)
    if response and trained and not columns.multiturn:
        refuse_empty(response.message.content, f"{place}, '{columns.response_key}'")
    read = (*conversation, *prompt, *((response,) if response else ()))
    return TrainingRow(
        place=place,
        messages=tuple(one.message for one in conversation),
        prompt=tuple(one.message for one in prompt),
        response=response.message.content if response else "",
        untrained=frozenset(untrained),
        extra=extra,
        response_trained=trained,
        notes=tuple(dict.fromkeys(note for one in read for note in one.notes)),
    )


def wanted_columns(columns: Columns) -> dict[str, str]:
    """Return the columns to read, each with the option that names it."""
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


def _csv_records(file: Path, wanted: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a CSV file, with or without byte-order mark, with any common delimiter.

    Raises DatasetError for a row that does not match the header: an unquoted cell would be cut.
    """
    csv.field_size_limit(sys.maxsize)
    with file.open(encoding="utf-8-sig", newline="") as lines:
        header = lines.readline()
        named = re.match(r"sep=(.)\r?$", header, re.IGNORECASE)  # Excel's own first line
        if not named:
            lines.seek(0)
        reader = csv.DictReader(lines, delimiter=named[1] if named else _delimiter(header, wanted), strict=True)
        place = f"{file} line {2 + bool(named)}"
        try:
            for record in reader:
                if any(isinstance(cell, list) or (cell or "").strip() for cell in record.values()):  # else a blank line
                    _check_cells(record, wanted, place)
                    yield record
                place = f"{file} line {reader.line_num + bool(named) + 1}"
        except csv.Error as error:
            raise DatasetError(f"{place}: {error}; quotes inside a cell must be doubled, and a cell closed") from None


def _delimiter(header: str, wanted: Mapping[str, str]) -> str:
    """Return the header's delimiter: the one that yields the wanted columns, else the one that yields most names."""

    def match(delimiter: str) -> tuple[bool, int]:
        names = next(csv.reader([header], delimiter=delimiter), [])
        return set(wanted) <= set(names), len(names)

    return max(",;\t|", key=match)


def _check_cells(record: Mapping[Any, Any], wanted: Mapping[str, str], place: str) -> None:
    if None in record:
        raise DatasetError(f"{place}: the row has more cells than the header; quote a cell that holds the separator")
    if None in record.values():
        raise DatasetError(f"{place}: the row has fewer cells than the header; is the file complete?")
    for column in (*wanted, EXTRA_INFO):
        cell = record.get(column, "")
        if is_cut_by_excel(cell) and isinstance(parse_cell(cell), str):
            raise DatasetError(f"{place}: '{column}': {explain_unreadable(cell)}")


def _json_records(file: Path, wanted: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON lines file, with or without byte-order mark; blank lines are skipped."""
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                why = f"{error.msg} at character {error.pos + 1}"
                raise DatasetError(f"{file} line {number}: not JSON ({why}); {_ADVICE}") from None
            except (ValueError, RecursionError) as error:  # a number of too many digits
                why = "too deep" if isinstance(error, RecursionError) else str(error)
                raise DatasetError(f"{file} line {number}: not read ({why}); {_ADVICE}") from None
            if not isinstance(record, dict):
                raise DatasetError(f"{file} line {number}: not a JSON object; {_ADVICE}")
            yield record


_ADVICE = "write one object a line (pandas: to_json(orient='records', lines=True))"


def _check_columns(file: Path, names: Sequence[str], wanted: Mapping[str, str]) -> None:
    for column, option in wanted.items():
        if column not in names:
            close = get_close_matches(column, names, 1) or [name for name in _COMMON_NAMES[option] if name in names]
            way_out = f"set {option}={close[0]}" if close else f"set {option} to one of them"
            raise DatasetError(f"{file}: no column '{column}', only {', '.join(names)}; {way_out}")


_COMMON_NAMES = {
    "data.prompt_key": ("prompt_data", "prompt", "question"),
    "data.response_key": ("response_data", "completion", "response", "answer"),
    "data.multiturn.messages_key": ("messages", "conversations"),
}


def _read_conversation(value: object, place: str, key: str) -> tuple[ParsedMessage, ...]:
    """Parse and check a row's messages: known roles, text contents, an assistant message at the end."""
    option = "data.multiturn.messages_key"
    parsed = parse_cell(value) if isinstance(value, str) else value
    if isinstance(parsed, Mapping):  # verl says of this: dict object has no element 0
        raise DatasetError(
            f"{place}: '{key}' holds a struct ({', '.join(parsed)}), not a list of messages;"
            f" set {option}=messages, or train single-turn with data.multiturn.enable=false"
        )
    if isinstance(parsed, str) and looks_nested(parsed):
        raise DatasetError(f"{place}: '{key}' is {short_repr(value)}: {explain_unreadable(parsed)}")
    if not isinstance(parsed, Sequence) or isinstance(parsed, str):
        raise DatasetError(
            f"{place}: '{key}' is {short_repr(value)}, not a list of messages;"
            f" set {option} to the column that holds one"
        )
    messages = tuple(parse_message(item, f"{place}, message {number}") for number, item in enumerate(parsed))
    if not messages or messages[-1].message.role != "assistant":
        ending = f"with role '{messages[-1].message.role}'" if messages else "before it begins"
        raise DatasetError(f"{place}: the conversation ends {ending}; its last message must be the assistant's")
    return messages


def _context_turns(conversation: Sequence[ParsedMessage]) -> set[int]:
    """Return the turns (from 0) with a reply that is marked as context without loss."""
    replies = [one for one in conversation if one.message.role == "assistant"]
    return {turn for turn, reply in enumerate(replies) if not reply.trained}


def _refuse_empty_replies(conversation: Sequence[ParsedMessage], untrained: Collection[int], place: str) -> None:
    replies = [(number, one) for number, one in enumerate(conversation) if one.message.role == "assistant"]
    for turn, (number, reply) in enumerate(replies):
        if turn not in untrained:
            refuse_empty(reply.message.content, f"{place}, message {number}")


def _read_prompt(value: object, columns: Columns, place: str) -> tuple[ParsedMessage, ...]:
    """Return the prompt's messages: the row's own list, or its text as a user message without the label."""
    text = _follow_keys(value, columns.prompt_dict_keys, place, columns.prompt_key, "data.prompt_dict_keys")
    if isinstance(text, str):
        return (ParsedMessage(Message("user", text.removeprefix(USER_LABEL)), trained=True),)
    messages = tuple(parse_message(item, f"{place}, '{columns.prompt_key}'") for item in text)
    if len(messages) == 1:
        (only,) = messages
        return (replace(only, message=Message(only.message.role, only.message.content.removeprefix(USER_LABEL))),)
    return messages


def _read_response(value: object, columns: Columns, place: str) -> ParsedMessage:
    found = _follow_keys(value, columns.response_dict_keys, place, columns.response_key, "data.response_dict_keys")
    if isinstance(found, str):
        return ParsedMessage(Message("assistant", found), trained=True)
    if len(found) != 1:
        raise DatasetError(f"{place}: '{columns.response_key}' holds {len(found)} messages; one is needed")
    parsed = parse_message(found[0], f"{place}, '{columns.response_key}'")
    if parsed.message.role != "assistant":
        role = parsed.message.role
        raise DatasetError(f"{place}: '{columns.response_key}' is a message of role '{role}', not of the assistant")
    return parsed


def _follow_keys(value: object, keys: Sequence[str] | None, place: str, column: str, option: str) -> str | list[object]:
    """Follow the keys from a column's value to its text (or to a list of messages); text itself needs no keys."""
    if isinstance(value, str):
        value = _parse_nested(value, keys, f"{place}: '{column}'", option)
    is_message = isinstance(value, Mapping) and "content" in value and value.get("role") is not None
    if is_message and list(keys or ()) == ["content"]:
        return [value]  # its other keys count as in a list
    for key in keys or ():
        if isinstance(value, str | list):
            break
        if not isinstance(value, Mapping):
            raise DatasetError(f"{place}: '{column}' is {short_repr(value)}, not text; is the row complete?")
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
        raise DatasetError(f"{place}: '{column}' is {short_repr(value)}, not text; is the row complete?")
    if isinstance(value, str):
        refuse_surrogates(value, f"{place}: '{column}'")
    return value


def _parse_nested(text: str, keys: Sequence[str] | None, cell: str, option: str) -> object:
    """Parse a cell's text if keys lead into it or it holds messages; otherwise return the text.

    Raises DatasetError for text that looks nested but is unreadable: it would be trained on verbatim.
    """
    parsed = parse_cell(text)
    is_messages = isinstance(parsed, list) and parsed and all(_is_message(item) for item in parsed)
    if isinstance(parsed, str):
        if looks_nested(text) if keys else looks_like_messages(text):
            as_it_stands = f" (to train it as it stands: {option}=null)" if keys else ""
            raise DatasetError(f"{cell} is {short_repr(text)}: {explain_unreadable(text)}{as_it_stands}")
        return text
    if keys and isinstance(parsed, list) and not all(isinstance(item, Mapping) for item in parsed):
        raise DatasetError(
            f"{cell} is text that spells a list, {short_repr(text)}; to train it as it stands: {option}=null"
        )
    return parsed if keys or is_messages else text


def _is_message(item: object) -> bool:
    return isinstance(item, Mapping) and {"role", "content"} <= item.keys()


def _list_dataset_files(folder: Path) -> str:
    names = sorted(file.name for file in folder.iterdir() if file.suffix in SUFFIXES)
    return f"; {folder} holds {', '.join(names[:8])}" if names else f"; {folder} holds no dataset files"
