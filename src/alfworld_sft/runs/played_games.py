"""Which game was an episode played in? By its id among the games of a run, or by its number in a stream of games."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import ValidationError

from alfworld_sft.errors import GameFileError, RunFolderError
from alfworld_sft.games import GENERATE, GameRef, GameSource, GameStream
from alfworld_sft.games.listed import games_at_hand, list_games
from alfworld_sft.runs.config import GamesToPlay
from alfworld_sft.world import Game


class PlayedGames(Protocol):
    """Finds games; it can be sent to another process."""

    def ref(self, game_id: str, split: str, index: int) -> GameRef | None:
        """Return the game of an episode, None where it is unknown."""
        ...


@dataclass(frozen=True, slots=True)
class StreamedGames:
    """Games that were generated, each for the episodes of its numbers."""

    source: GameSource

    def ref(self, game_id: str, split: str, index: int) -> GameRef | None:
        """Return the game of this number, None where it has another id: another version makes other games."""
        ref = self.source.ref(index)
        return ref if ref.id == game_id else None


def games_of_run(stamp: Mapping[str, Any], named: Sequence[str]) -> PlayedGames:
    """Return the games that a run was played in: of the named sources, or else of its own.

    Where its own source is not on this machine the games at hand are searched. Raises GamesNotFoundError for a named
    source without games, RunFolderError for a stamp that says nothing of games.
    """
    if named:
        return list_games(named)
    try:
        config = stamp["config"]
        own = {name: config["games"][name] for name in GamesToPlay.model_fields if name in config["games"]}
        games, seed = GamesToPlay.model_validate(own), int(config["seed"])
    except (KeyError, TypeError, ValueError, ValidationError):
        raise RunFolderError("its run.json does not say which games were played; name them with --source") from None
    if games.source != GENERATE:
        return games_at_hand([games.source, None])
    stream = GameStream(seed, games.split, games.task_types, str(games.difficulty))
    total = config.get("num_games")
    return StreamedGames(stream.first(total) if isinstance(total, int) else stream)  # an evaluation shuffles its games


def load_game(ref: GameRef | None) -> Game | None:
    """Return a game that was found, None where there is none or it cannot be read."""
    try:
        return ref.load() if ref else None
    except GameFileError:
        return None
