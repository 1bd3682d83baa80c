"""Which rows of a dataset belong to one trajectory?"""

from __future__ import annotations

from dataclasses import dataclass

from alfworld_sft.dataset.read import TrainingRow
from alfworld_sft.types import Message


@dataclass
class TrajectoryKeys:
    """Gives the rows of one trajectory the same key: by their episode id, or because each continues the one before."""

    _last: tuple[Message, ...] = ()
    _key: tuple[str, ...] = ()

    def __call__(self, row: TrainingRow) -> tuple[str, ...]:
        """Return the row's key; a row without an episode id that continues none begins a trajectory of its own."""
        file = row.place.rpartition(" row ")[0]
        episode = row.extra.get("episode_id")
        if episode is not None:
            self._last = ()
            return (file, str(episode))
        longer = 0 < len(self._last) < len(row.messages)
        if not longer or row.messages[: len(self._last)] != self._last:
            self._key = (row.place,)
        self._last = row.messages
        return self._key
