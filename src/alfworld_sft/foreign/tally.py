"""What became of the records of an import? Counted by reason, with the first of each by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from alfworld_sft.counts import counted, noun_for
from alfworld_sft.foreign.replay import ForeignReplay


@dataclass
class Reason:
    """How many records, and the first of them in words."""

    records: int = 0
    first: str = ""

    def add(self, example: str) -> None:
        """Count a record."""
        self.records += 1
        self.first = self.first or example


@dataclass
class Tally:
    """The records of an import.

    `unread` are none of an ALFWorld game, `unknown` are of games that are not at hand, `unwanted` of games of another
    split or task type; `claimed` are said to be won, and are lost when replayed.
    """

    records: int = 0
    imported: int = 0
    replayed: int = 0
    unread: Reason = field(default_factory=Reason)
    unknown: Reason = field(default_factory=Reason)
    unwanted: Reason = field(default_factory=Reason)
    claimed: Reason = field(default_factory=Reason)
    reworded: int = 0
    refused: int = 0
    missing: int = 0

    def add_replay(self, replay: ForeignReplay) -> None:
        """Count the actions of a replayed episode."""
        self.replayed += 1
        self.reworded += replay.reworded
        self.refused += replay.invalid
        self.missing += replay.missing

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for the stamp."""
        return {
            "records": self.records,
            "imported": self.imported,
            "replayed": self.replayed,
            "not_read": self.unread.records,
            "game_not_found": self.unknown.records,
            "left_out": self.unwanted.records,
            "claimed_and_lost": self.claimed.records,
            "reworded_actions": self.reworded,
            "invalid_actions": self.refused,
            "turns_without_action": self.missing,
        }


def warnings_of(tally: Tally, *, rewritten: bool) -> list[str]:
    """Return what the user should know of an import, one line each."""
    lines = []
    for reason, why in (
        (tally.unread, "not read"),
        (tally.unwanted, "left out"),
        (tally.unknown, _unknown_games(rewritten)),
        (tally.claimed, "marked as won, but lost when replayed"),
    ):
        if reason.records:
            lines.append(f"{counted(reason.records, 'record')} {why} (the first: {reason.first})")
    if tally.reworded and not rewritten:
        lines.append(
            f"{counted(tally.reworded, 'action')} {noun_for(tally.reworded, 'is', 'are')} in other words than the"
            " games', which refuse them; prompt.template=default writes them as the games do"
        )
    if tally.refused:
        lines.append(f"{counted(tally.refused, 'action')} refused by the game; kept as context without loss")
    if tally.missing:
        what = "left out" if rewritten else "kept as context without loss"
        lines.append(f"{counted(tally.missing, 'reply', 'replies')} without an action; {what}")
    return lines


def _unknown_games(rewritten: bool) -> str:
    what = "left out" if rewritten else "kept as recorded, and won only where the record says so"
    return f"of games that are not at hand, {what}; games.source=DIR names the folder that holds them"
