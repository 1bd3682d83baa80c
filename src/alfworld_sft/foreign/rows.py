"""Which rows does a recorded conversation become, in its own words? One per reply that is a training target.

What precedes the game (an instruction, its acknowledgement, examples) is context. The single-turn form of a reply is
all that was said before it, as one text. `extra_info.turn` counts all replies of the conversation, from 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from alfworld_sft.dataset.rows import Row, RowsPer, as_dicts, is_target, make_row, with_a_row
from alfworld_sft.foreign.episodes import IMPORTED, Played
from alfworld_sft.foreign.read import ForeignEpisode
from alfworld_sft.foreign.replay import told_by
from alfworld_sft.types import episode_id
from alfworld_sft.world.language import NOTHING_HAPPENS


@dataclass(frozen=True, slots=True)
class Imported:
    """A recorded conversation with what is known of it. `targets` holds the places of the replies that are trained.

    `success` is None where neither a replay nor the record says it; `played` says whether the game was found. What has
    one `group` begins alike and stays together in train or val.
    """

    index: int
    recorded: ForeignEpisode
    game_id: str
    split: str
    task_type: str
    success: bool | None
    targets: frozenset[int]
    played: bool
    group: str

    @property
    def id(self) -> str:
        """As of an Episode: the number and the game."""
        return episode_id(self.index, self.game_id)

    @property
    def replies(self) -> list[int]:
        """The places of all replies."""
        return [place for place, message in enumerate(self.recorded.messages) if message.role == "assistant"]


def trained_when_played(played: Played) -> frozenset[int]:
    """Return the replies to train: those of steps that are training targets."""
    steps = zip(played.positions, played.episode.steps, strict=True)
    return frozenset(position for position, step in steps if is_target(step))


def trained_as_recorded(recorded: ForeignEpisode) -> frozenset[int]:
    """Return the replies to train where no game is at hand: those with an action that the record shows to work."""
    return frozenset(
        turn.position
        for turn in recorded.turns
        if turn.trained and turn.action is not None and told_by(turn.answer or "") != NOTHING_HAPPENS
    )


def recorded_rows(one: Imported, rows_per: RowsPer) -> Iterator[Row]:
    """Yield the rows of a recorded conversation in turn order, in the columns of `dataset.rows.rows_of`."""
    messages = as_dicts(one.recorded.messages)
    replies = one.replies
    won = None if one.success is None else float(one.success)
    for place in with_a_row(sorted(one.targets), rows_per):
        turn = replies.index(place) + 1
        before = [message["content"] for message in messages[:place]]
        yield make_row(messages[: place + 1], "\n\n".join(before), won, _extra_info(one, turn, replies))


def count_recorded_rows(one: Imported, rows_per: RowsPer) -> int:
    """Return how many rows `recorded_rows` yields."""
    return len(with_a_row(sorted(one.targets), rows_per))


def unplayed_trajectory(one: Imported) -> dict[str, Any]:
    """Return a conversation without a game as `raw_trajectory` has it; what only a game tells is empty."""
    return {
        "messages_list": as_dicts(one.recorded.messages),
        "success": one.success,
        "rewards": [],
        "final_reward": None,
        "task_info": {"episode_id": one.id, "game_id": one.game_id, "task": one.recorded.task},
        "episode_length": len(one.recorded.turns),
        "steps": [],
    }


def _extra_info(one: Imported, turn: int, replies: list[int]) -> dict[str, Any]:
    return {
        "game_id": one.game_id,
        "split": one.split,
        "task_type": one.task_type,
        "episode_id": one.id,
        "turn": turn,
        "turns": len(replies),
        "success": one.success,
        "policy": IMPORTED,
        "record": one.recorded.place,
        "replayed": one.played,
        "untrained_turns": [t for t, place in enumerate(replies[: turn - 1], 1) if place not in one.targets],
    }
