"""Which game was an episode played in? By its id among the games of a run, or by its number in a stream of games."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import ValidationError

from alfworld_sft.errors import GameFileError, GamesNotFoundError, RunFolderError
from alfworld_sft.games import EMBEDDED, GENERATE, GameRef, GameStream, find_all_games
from alfworld_sft.games.layout import EVAL_SPLITS
from alfworld_sft.runs.config import GamesToPlay
from alfworld_sft.world import Game


class Lookup(Protocol):
    """Finds games; it can be sent to another process."""

    def find(self, game_id: str, split: str, index: int) -> Game | None:
        """Return the game of an episode, None where it is unknown or cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class ListedGames:
    """Games that lie somewhere, by id; of several with one id that of the episode's split is preferred."""

    by_id: Mapping[str, Sequence[GameRef]]

    def find(self, game_id: str, split: str, index: int) -> Game | None:
        """Return the game of an episode, None where it is unknown or cannot be read."""
        refs = sorted(self.by_id.get(game_id, ()), key=lambda ref: ref.split != split)
        try:
            return refs[0].load() if refs else None
        except GameFileError:
            return None

    @property
    def evaluation_games(self) -> frozenset[str]:
        """The ids of the games that results are reported on, and that are no training games as well."""
        splits = {game_id: {ref.split for ref in refs} for game_id, refs in self.by_id.items()}
        return frozenset(game_id for game_id, found in splits.items() if found <= EVAL_SPLITS)


@dataclass(frozen=True, slots=True)
class StreamedGames:
    """Games that were generated, one for each episode."""

    stream: GameStream

    def find(self, game_id: str, split: str, index: int) -> Game | None:
        """Return the game of this number, None where it has another id: another version makes other games."""
        ref = self.stream.ref(index)
        return ref.load() if ref.id == game_id else None


def list_games(sources: Iterable[str | None]) -> ListedGames:
    """Return the games of all sources, the first ones preferred; raises GamesNotFoundError for a source without any."""
    by_id: dict[str, list[GameRef]] = {}
    for source in dict.fromkeys(sources):
        for games in find_all_games(source):
            for ref in games:
                by_id.setdefault(ref.id, []).append(ref)
    return ListedGames(by_id)


def known_games(named: Sequence[str]) -> ListedGames:
    """Return the games of the named sources, or else all that are at hand: $ALFWORLD_DATA's and the embedded ones."""
    return list_games(named) if named else _at_hand([None])


def games_of_run(stamp: Mapping[str, Any], named: Sequence[str]) -> Lookup:
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
    if games.source == GENERATE:
        return StreamedGames(GameStream(seed, games.split, games.task_types, str(games.difficulty)))
    return _at_hand([games.source, None])


def _at_hand(sources: Sequence[str | None]) -> ListedGames:
    """Return the games of the sources that can be read, and the embedded ones."""
    readable: list[str | None] = []
    for source in sources:
        try:
            list_games([source])
        except GamesNotFoundError:
            continue
        readable.append(source)
    return list_games([*readable, EMBEDDED])
