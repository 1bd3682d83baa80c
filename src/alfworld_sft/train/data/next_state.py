"""Which extra rows ask what the game says next? Those of the actions in the data, and of others that were tried.

An action of the data asks for the conversation's next user message. One in `extra_info.alternatives` asks for the
game's own words: it was only tried in a fork of the game, or its row's answer is not in the conversation. This module
is pure: no tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from alfworld_sft.dataset.extra_info import alternatives
from alfworld_sft.dataset.read import TrainingRow
from alfworld_sft.prompts.formats import read_action
from alfworld_sft.prompts.template import reply_format_of
from alfworld_sft.seeds import derive_seed
from alfworld_sft.train.data.fold import Chain

NEXT_STATE_QUESTION = (
    "{prompt}\n\nSuppose you answer with this action: {action}\nDo not act now. Write only what you are told next."
)
OBSERVATION_QUESTION = (
    "{prompt}\n\nSuppose you answer with this action: {action}\nDo not act now. Write only the game's answer to it."
)


class NextState(NamedTuple):
    """A question and its answer; `tried` is the action, and its turn, where they are not the row's own."""

    place: str
    question: str
    answer: str
    tried: str | None = None

    @property
    def name(self) -> str:
        """What tells the sample from others of the same row."""
        return "next state" if self.tried is None else f"next state of {self.tried}"

    def rank(self, seed: int) -> int:
        """Return a number that decides which questions are chosen; it does not depend on the file's folder.

        Rows of the same number in several files have the same.
        """
        row = self.place.rpartition("/")[2]  # e.g. "train.parquet row 5"
        return derive_seed(seed, row) if self.tried is None else derive_seed(seed, row, self.tried)


@dataclass
class NextStates:
    """The questions of a dataset, gathered row by row, and the number of its rows with an action."""

    actions: int = 0
    _open: list[tuple[NextState, list[Chain], int, int]] = field(default_factory=list)
    _answered: list[NextState] = field(default_factory=list)

    def add(self, row: TrainingRow, chains: list[Chain]) -> None:
        """Gather the questions of a row of a trajectory; raises DatasetError for alternatives that are none."""
        if not row.prompt or not row.messages:
            return
        prompt = row.prompt[-1].content
        if (action := read_action(row.response, reply_format_of(row.extra.get("template")))) is not None:
            self.actions += 1
            question = NEXT_STATE_QUESTION.format(prompt=prompt, action=action)
            asked = NextState(row.place, question, "")
            self._open.append((asked, chains, len(row.messages), hash(row.messages)))
        for tried in alternatives(row.extra, row.place):
            asked_in = prompt if tried.prompt is None else tried.prompt
            question = OBSERVATION_QUESTION.format(prompt=asked_in, action=tried.action)
            name = tried.action if tried.turn is None else f"{tried.action} in turn {tried.turn}"
            self._answered.append(NextState(row.place, question, tried.observation, name))

    def choose(self, share: float, seed: int) -> list[NextState]:
        """Return `share` questions per action row, chosen by the seed, or all where there are fewer.

        Of equal rank those of the first file come first, wherever the files lie.
        """
        found = sorted(self._all(), key=lambda one: one.rank(seed))
        return found[: round(share * self.actions)]

    def _all(self) -> Iterable[NextState]:
        for asked, chains, messages, hashed in self._open:
            answer = next(filter(None, (chain.message_after(messages, hashed) for chain in chains)), None)
            if answer is not None and answer.role == "user":
                yield asked._replace(answer=answer.content)
        yield from self._answered
