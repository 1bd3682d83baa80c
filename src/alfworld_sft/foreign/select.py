"""Which records are imported, and as what? Find each one's game, play it, and say of each that is left out why."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

from alfworld_sft.collect.config import GamesSection
from alfworld_sft.foreign.episodes import play_recorded
from alfworld_sft.foreign.read import ForeignEpisode
from alfworld_sft.foreign.replay import find_replay, is_its_game
from alfworld_sft.foreign.rows import Imported, trained_as_recorded, trained_when_played
from alfworld_sft.foreign.tally import Tally
from alfworld_sft.games.finder import GameFinder, beginning_of
from alfworld_sft.games.layout import EVAL_SPLITS, may_stand_for, split_in
from alfworld_sft.prompts.template import Template
from alfworld_sft.seeds import derive_seed
from alfworld_sft.types import Episode
from alfworld_sft.world import Game
from alfworld_sft.world.sentence import read_task, task_type_of


class Selection:
    """Turns records into imported conversations, one by one, and counts in `tally` what became of each.

    `keep` is given the Episode of each that is played. With a template, a record whose game is not found is left out.
    """

    def __init__(
        self,
        wanted: GamesSection,
        finder: GameFinder,
        template: Template | None,
        seed: int,
        keep: Callable[[Episode], object],
    ) -> None:
        self.tally = Tally()
        self._wanted = wanted
        self._finder = finder
        self._template = template
        self._seed = seed
        self._keep = keep

    def select(self, records: Iterable[ForeignEpisode | str]) -> Iterator[Imported]:
        """Yield what is imported, numbered from 0; a text among the records says why one could not be read."""
        for record in records:
            self.tally.records += 1
            if isinstance(record, str):
                self.tally.unread.add(record)
            elif one := self._import(record):
                self.tally.imported += 1
                yield one

    def _import(self, recorded: ForeignEpisode) -> Imported | None:
        found = find_replay(recorded, self._finder)
        if found is None or not is_its_game(recorded, found[1]):
            alike = found[0] if found else None
            if alike and alike.split in EVAL_SPLITS and self._is_unwanted(recorded, alike.split, alike.task_type):
                return None  # it may be that game, whose answers were changed
            self.tally.unknown.add(f"{recorded.place}: {recorded.task or recorded.game!r}")
            return self._without_game(recorded, alike) if self._template is None else None
        game, replay = found
        if self._is_unwanted(recorded, game.split, game.task_type):
            return None
        self.tally.add_replay(replay)
        if recorded.success and not replay.won:
            self.tally.claimed.add(recorded.place)
        return self._played(recorded, game)

    def _played(self, recorded: ForeignEpisode, game: Game) -> Imported:
        index = self.tally.imported
        seed = derive_seed(self._seed, "episode", index)
        played = play_recorded(recorded, game, self._template, index=index, seed=seed)
        self._keep(played.episode)
        targets, success = trained_when_played(played), played.episode.success
        return Imported(
            index, recorded, game.id, game.split, game.task_type, success, targets, played=True, group=game.id
        )

    def _without_game(self, recorded: ForeignEpisode, alike: Game | None) -> Imported | None:
        """Import a record of no game at hand; `alike` is one that begins as it does."""
        goal = read_task(recorded.task)
        task_type = task_type_of(goal) if goal else ""
        named = split_in(recorded.game or "")
        if self._is_unwanted(recorded, named, task_type):
            return None
        start = (
            beginning_of(recorded.task, recorded.opening) if recorded.task else f"{recorded.opening}\n{recorded.game}"
        )
        game_id = f"unknown/{hashlib.sha256(start.encode()).hexdigest()[:16]}"
        return Imported(
            self.tally.imported,
            recorded,
            game_id,
            named or "",
            task_type,
            recorded.success,
            trained_as_recorded(recorded),
            played=False,
            group=alike.id if alike else game_id,
        )

    def _is_unwanted(self, recorded: ForeignEpisode, split: str | None, task_type: str) -> bool:
        """Return whether the config leaves out such a game, and count it then."""
        wanted = self._wanted
        if split and not may_stand_for(split, wanted.split):
            why = f"a game of {split}, not of games.split={wanted.split}"
        elif wanted.task_types is not None and task_type not in wanted.task_types:
            why = f"the task type {task_type or 'is unknown'}, and games.task_types leaves it out"
        else:
            return False
        self.tally.unwanted.add(f"{recorded.place}: {why}")
        return True
