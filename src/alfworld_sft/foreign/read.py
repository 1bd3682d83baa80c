"""What is played in another project's ALFWorld data? Conversations `[{from, value}]` → task, opening and turns.

The published sets (AgentInstruct, AgentTraj, ETO) agree on the conversation and differ in what surrounds the action:
"ACTION: …" on the line of the thought or on one of its own, "Observation: …" before what the game says, a list of the
available actions behind it. One reader understands all of these; a format says which records are ALFWorld's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from alfworld_sft.dataset.messages import ParsedMessage, parse_message, short_repr
from alfworld_sft.errors import DatasetError, file_errors
from alfworld_sft.games.layout import plain_text
from alfworld_sft.prompts.tags import read_section, read_tagged_action
from alfworld_sft.strict_json import writable
from alfworld_sft.types import Message, Role
from alfworld_sft.world.language import IN_ROOM, TASK_PREFIX, read_command

Format = Literal["sharegpt", "agentgym", "eto"]
_ROLES: Mapping[str, Role] = {
    "human": "user", "gpt": "assistant", "system": "system", "user": "user", "assistant": "assistant",
}  # fmt: skip
_GAME_KEYS = ("game_file", "gamefile", "game_id")


@dataclass(frozen=True, slots=True)
class ForeignTurn:
    """A reply: the action in it as it stands, None where there is none, and what was said next, None at the end.

    `position` is its place in the conversation; `trained` is False where the record marks it as context without loss.
    """

    action: str | None
    answer: str | None
    thought: str = ""
    position: int = 0
    trained: bool = True


@dataclass(frozen=True, slots=True)
class ForeignEpisode:
    """A conversation that plays a game. `game` is what the record says of it: a path or an id, or None.

    `task` and `opening` are empty where the conversation shows neither and the record names its game. `success` is what
    the record claims; None where it claims nothing. `messages` is the full conversation, with what precedes the game.
    """

    place: str
    task: str
    opening: str
    turns: tuple[ForeignTurn, ...]
    game: str | None = None
    success: bool | None = None
    messages: tuple[Message, ...] = ()


def read_foreign(file: Path, kind: Format) -> Iterator[ForeignEpisode | str]:
    """Yield the episodes of a file, or why a record is none; raises DatasetError for a file that cannot be read."""
    for number, record in enumerate(_records(file)):
        place = f"{plain_text(file.name)} record {number}"
        if kind == "agentgym" and not str(record.get("item_id", "")).startswith("alfworld"):
            yield f"{place}: item_id {short_repr(record.get('item_id'))} is of another environment"
            continue
        try:
            yield read_conversation(record, place)
        except DatasetError as error:
            yield str(error)


def read_conversation(record: Mapping[str, Any], place: str) -> ForeignEpisode:
    """Return the episode of one record; raises DatasetError where it plays no game."""
    parsed = _messages(record, place)
    messages = tuple(one.message for one in parsed)
    named = next((record[key] for key in _GAME_KEYS if isinstance(record.get(key), str) and record[key]), None)
    start = _find_start(messages, named, place)
    text = messages[start].content
    told = _begins(text)
    turns = tuple(
        ForeignTurn(
            find_action(message.content),
            _answer(messages, number + 1),
            find_thought(message.content),
            number,
            parsed[number].trained,
        )
        for number, message in enumerate(messages)
        if number > start and message.role == "assistant"
    )
    task, opening = (_task(text), _opening(text)) if told else ("", "")
    return ForeignEpisode(place, task, opening, turns, named, _claim(record), messages)


def _find_start(messages: Sequence[Message], named: str | None, place: str) -> int:
    """Return the place of the message that begins the game, the last one's where examples precede it.

    A game may show its beginning in every message. Raises DatasetError where nothing says which game is played.
    """
    asked = [number for number, message in enumerate(messages) if message.role == "user"]
    starts = [number for number in asked if _begins(messages[number].content)]
    if starts:
        games = [(_task(messages[number].content), _opening(messages[number].content)) for number in starts]
        return starts[games.index(games[-1])]
    if named is None or not asked:
        raise DatasetError(f"{place}: no message shows a room and says '{TASK_PREFIX.strip()}'")
    return asked[0]


def _begins(text: str) -> bool:
    return TASK_PREFIX in text and bool(_opening(text))


def _task(text: str) -> str:
    said = _AVAILABLE.split(text[text.rindex(TASK_PREFIX) + len(TASK_PREFIX) :])[0].strip()
    return said.splitlines()[0].strip() if said else ""


def _claim(record: Mapping[str, Any]) -> bool | None:
    values = (record.get(key) for key in ("success", "reward"))
    value = next((value for value in values if isinstance(value, bool | int | float)), None)
    return None if value is None else value >= 1


def find_action(reply: str) -> str | None:
    """Return the action of a reply: in `<action>`, behind the last "Action:", or all of it if it is a command.

    None where there is none.
    """
    if "<action>" in reply:
        return read_tagged_action(reply)
    found = _ACTION.split(reply)
    if len(found) < 2:
        bare = reply.strip()
        return bare if read_command(bare.lower()) else None
    lines = found[-1].strip().splitlines()
    return (lines[0].strip().strip("`'\"").rstrip(".").strip() or None) if lines else None


def find_thought(reply: str) -> str:
    """Return the thought of a reply: in `<think>`, or what stands before the last "Action:"; empty where none is."""
    if "<action>" in reply:
        return read_section(reply, "think") or ""
    actions = list(_ACTION.finditer(reply))
    return _THOUGHT.sub("", reply[: actions[-1].start()]).strip() if actions else ""


def clean_observation(text: str) -> str:
    """Return what the game says in a message: without "Observation:" before it and lists of actions behind it."""
    return " ".join(_AVAILABLE.split(_OBSERVATION.sub("", text.strip(), count=1))[0].split())


def _answer(messages: Sequence[Message], place: int) -> str | None:
    if place >= len(messages) or messages[place].role != "user":
        return None
    return clean_observation(messages[place].content)


def _opening(text: str) -> str:
    """Return the last sentence that lists what is in a room; an example may stand before it."""
    start = text.rfind(IN_ROOM.prefix)
    end = text.find(".", start + len(IN_ROOM.prefix)) if start >= 0 else -1
    return " ".join(text[start : end + 1].split()) if end >= 0 else ""


def _messages(record: Mapping[str, Any], place: str) -> list[ParsedMessage]:
    conversation = record.get("conversations", record.get("messages"))
    if not isinstance(conversation, list) or not conversation:
        raise DatasetError(f"{place}: 'conversations' is {short_repr(conversation)}, not a list of messages")
    messages = []
    for number, message in enumerate(conversation):
        if not isinstance(message, Mapping):
            raise DatasetError(f"{place}, message {number}: {short_repr(message)} is not a message")
        role, text = message.get("from", message.get("role")), message.get("value", message.get("content"))
        if not isinstance(role, str) or not isinstance(text, str):
            raise DatasetError(f"{place}, message {number}: it needs 'from' and 'value', both text")
        if role not in _ROLES:
            raise DatasetError(
                f"{place}, message {number}: unknown role {short_repr(role)}; there are {', '.join(_ROLES)}"
            )
        others = {key: value for key, value in message.items() if key not in ("from", "value", "role", "content")}
        said = {"role": _ROLES[role], "content": writable(text), **others}
        messages.append(parse_message(said, f"{place}, message {number}"))
    return messages


def _records(file: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the records of a .json (one list), .jsonl or .parquet file; raises DatasetError for anything else."""
    with file_errors("read", file, "name a file that can be read"):
        if file.suffix == ".parquet":
            yield from _parquet(file)
            return
        if file.suffix not in (".json", ".jsonl"):
            raise DatasetError(f"{file}: not a .json, .jsonl or .parquet file")
        content = file.read_bytes()
    place = str(file)
    listed: Any = []
    try:
        text = content.decode("utf-8-sig")
        if file.suffix == ".json":
            listed = json.loads(text)
        else:
            for number, line in enumerate(text.split("\n"), 1):
                place = f"{file} line {number}"
                listed += [json.loads(line)] if line.strip() else []
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{place}: not JSON ({str(error)[:80]})") from None
    if not isinstance(listed, list) or not all(isinstance(record, Mapping) for record in listed):
        raise DatasetError(f"{file}: not a list of records")
    yield from listed


def _parquet(file: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(256):
                yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise DatasetError(f"{file}: not a Parquet file ({str(error).splitlines()[0][:80]})") from None


_THOUGHT = re.compile(r"^\s*th(?:ought|ink)\s*:\s*", re.IGNORECASE)
_ACTION = re.compile(r"\baction\s*:", re.IGNORECASE)
_OBSERVATION = re.compile(r"^observation\s*:\s*", re.IGNORECASE)
_AVAILABLE = re.compile(r"\bavailable actions\b", re.IGNORECASE)
