"""Games without end: every episode plays a game of its own, made when it is played and forgotten after."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from alfworld_sft import __version__
from alfworld_sft.counts import counted
from alfworld_sft.errors import UserError
from alfworld_sft.games.generator.generate import SPLITS, GeneratedSplit, generate_game
from alfworld_sft.games.generator.rooms import difficulty_of
from alfworld_sft.games.generator.tasks import check_tasks
from alfworld_sft.games.refs import GameRef, ShuffledGames, make_game
from alfworld_sft.seeds import derive_seed
from alfworld_sft.types import TaskType


@dataclass(frozen=True, slots=True)
class GameStream:
    """A game for every number, a `GameSource`: the same stream gives the same game for it.

    Train games have a room each that no other split and hardly another game has. Raises UserError when made, for
    options that leave no game.
    """

    seed: int
    split: str = "train"
    task_types: Sequence[TaskType] | None = None
    difficulty: str = "normal"

    def __post_init__(self) -> None:
        self._split()
        difficulty_of(self.difficulty)
        check_tasks(self.task_types, None)

    def ref(self, index: int) -> GameRef:
        """Make the game of this number; the ref holds it."""
        made = generate_game(
            derive_seed(self.seed, "game", index),
            split=self._split(),
            task_types=self.task_types,
            difficulty=difficulty_of(self.difficulty),
            endless=True,
        )
        blueprint = made.blueprint
        return GameRef(
            made.id,
            self.split,
            made.sha256,
            task_type=blueprint.task_type,
            scene=blueprint.scene,
            make=lambda: made.game,
        )

    def first(self, number: int) -> ShuffledGames:
        """Return the games of the first numbers, each of which is made when it is played, and not kept."""
        refs = (replace(self.ref(index), make=partial(make_game, self, index)) for index in range(number))
        described = f"{counted(number, f'generated {self.split} game')} {self._decided_by}"
        return ShuffledGames(tuple(refs), self.seed, self.split, described)

    def _split(self) -> GeneratedSplit:
        for split in SPLITS:
            if split == self.split:
                return split
        raise UserError(f"there are no generated games of the split {self.split!r}, only of {', '.join(SPLITS)}")

    @property
    def total(self) -> None:
        """How many games there are: they have no end."""

    @property
    def folder(self) -> None:
        """Where the games are read from: they are made."""

    @property
    def description(self) -> str:
        """What the games are, for every output that names them."""
        return f"a generated {self.split} game for every episode {self._decided_by}"

    @property
    def _decided_by(self) -> str:
        types = f", only {', '.join(self.task_types)}" if self.task_types else ""
        return f"(seed {self.seed}, difficulty {self.difficulty}{types})"

    @property
    def skipped(self) -> dict[str, int]:
        """What was skipped, by reason: nothing ever is."""
        return {}

    @property
    def warning(self) -> None:
        """What to say of skipped games: nothing."""

    @property
    def sha256(self) -> str:
        """One hash of all that decides the games: equal hashes mean the same ones."""
        return hashlib.sha256(f"{__version__} {self.description}".encode()).hexdigest()
