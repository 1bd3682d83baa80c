"""A dataset's files → dialogues: each episode's conversation once, with the turns that carry no loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from alfworld_sft.dataset.extra_info import own_turn
from alfworld_sft.dataset.read import Columns, TrainingRow, dataset_file, first_rows, read_rows, stand_for_episodes
from alfworld_sft.dataset.trajectories import TrajectoryKeys
from alfworld_sft.errors import DatasetError
from alfworld_sft.types import Message

SPLITS = ("train", "val")
_CONVERSATION = Columns(multiturn=True)
_SINGLE_TURN = Columns()


@dataclass(frozen=True, slots=True)
class Dialogue:
    """An exchange of messages that ends with a reply, and where the loss is.

    `trained` holds the positions (in `messages`, from 0) of the replies that are training targets; `extra` is the
    row's extra_info, whose `turn` is that of the last reply.
    """

    messages: tuple[Message, ...]
    trained: frozenset[int]
    extra: Mapping[str, Any]

    def turns(self) -> Iterator[Dialogue]:
        """Yield one dialogue for each trained reply: everything up to it, with that reply as the only target."""
        replies = [position for position, message in enumerate(self.messages) if message.role == "assistant"]
        own = own_turn(self.extra)
        last = len(replies) if own is None else own + 1
        for turn, position in enumerate(replies, last - len(replies) + 1):
            if position in self.trained:
                extra = {**self.extra, "turn": turn}
                yield Dialogue(self.messages[: position + 1], frozenset({position}), extra)


def read_conversations(folder: Path, split: str) -> Iterator[Dialogue]:
    """Yield the conversation of each episode once, up to its last target; raises DatasetError.

    A dataset with a row for each turn repeats the beginning of a conversation in every row: the longest row holds it.
    A row whose last reply that conversation does not have, such as a teacher's answer, follows as a dialogue of its own
    with no other target. An episode's rows must stand together, as they were written; where rows name no episode, each
    that continues the row before is of the same.
    """
    rows = read_rows([_file_of(folder, split)], _CONVERSATION, "RUN")
    seen: set[tuple[str, ...]] = set()
    for episode, of_one_episode in groupby(rows, key=TrajectoryKeys()):
        listed = list(of_one_episode)
        if episode in seen:
            raise DatasetError(
                f"{listed[0].place}: other rows stand between those of episode {episode[-1]}; sort them by episode_id"
                " and turn (in extra_info)"
            )
        seen.add(episode)
        longest = max(listed, key=lambda row: row.turns)
        yield _dialogue(longest)
        for row in listed:
            if longest.messages[: len(row.messages)] != row.messages:
                yield Dialogue(row.messages, frozenset({len(row.messages) - 1}), row.extra)


def read_single_turns(folder: Path, split: str) -> Iterator[Dialogue]:
    """Yield the single-turn form of each trained turn: one user message with the history in it, and the reply.

    Raises DatasetError, also where the dataset has one row for each episode.
    """
    file = _file_of(folder, split)
    if stand_for_episodes(first_rows(file, _SINGLE_TURN, "RUN")):
        raise DatasetError(
            f"{folder}: it has one row for each episode, so the single-turn form of most turns is missing;"
            " use --form multi, or collect with dataset.rows_per=turn"
        )
    for row in read_rows([file], _SINGLE_TURN, "RUN"):
        if row.response_trained:
            messages = (*row.prompt, Message("assistant", row.response))
            yield Dialogue(messages, frozenset({len(messages) - 1}), row.extra)


def _file_of(folder: Path, split: str) -> Path:
    """Return a split's file in a dataset's folder; a file alone would stand for both splits."""
    if folder.is_file():
        raise DatasetError(f"{folder} is a file; export the folder that holds it")
    return dataset_file(folder, f"{split}.parquet", "RUN")


def _dialogue(row: TrainingRow) -> Dialogue:
    replies = [position for position, message in enumerate(row.messages) if message.role == "assistant"]
    trained = frozenset(position for turn, position in enumerate(replies) if turn not in row.untrained)
    return Dialogue(row.messages, trained, row.extra)
