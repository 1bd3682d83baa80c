"""Which game was an episode played in, and which games did runs lose?

A game is found by its id among the games of a run, or by its number in a stream of games.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from alfworld_sft.counts import counted
from alfworld_sft.errors import GameFileError, GamesNotFoundError, RunFolderError
from alfworld_sft.games import GENERATE, GameRef, Games, GameSource, GameStream, layout
from alfworld_sft.games.listed import ListedGames, games_at_hand, list_games
from alfworld_sft.games.refs import make_game
from alfworld_sft.runs.config import GamesToPlay
from alfworld_sft.runs.journal import read_journal
from alfworld_sft.runs.store import JOURNAL, read_stamp
from alfworld_sft.types import Episode
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


def games_of_run(stamp: Mapping[str, Any], named: Sequence[str], before: Sequence[Path] = ()) -> PlayedGames:
    """Return the games that a run was played in: of the named sources, or else of its own.

    Where its own source is not on this machine the games at hand are searched. Raises GamesNotFoundError for a named
    source without games, RunFolderError for a stamp that says nothing of games. `before` are the runs whose lost games
    led here.
    """
    if named:
        return list_games(named)
    try:
        config = stamp["config"]
        lost_by = [Path(run) for run in config["games"].get("lost_by") or ()]
        own = {name: config["games"][name] for name in GamesToPlay.model_fields if name in config["games"]}
        games, seed = GamesToPlay.model_validate(own), int(config["seed"])
    except (AttributeError, KeyError, TypeError, ValueError, ValidationError):
        raise RunFolderError("its run.json does not say which games were played; name them with --source") from None
    if lost_by:
        return ListedGames({ref.id: [ref] for ref in lost_games(lost_by, games.split, before)})
    if games.source != GENERATE:
        return games_at_hand([games.source, None])
    stream = GameStream(seed, games.split, games.task_types, str(games.difficulty))
    total = config.get("num_games")
    return StreamedGames(stream.first(total) if isinstance(total, int) else stream)  # an evaluation shuffles its games


def lost_games(runs: Sequence[Path], split: str, before: Sequence[Path] = ()) -> Games:
    """Return the games of a split that at least one of the runs has lost, as far as they have been played.

    Raises RunFolderError for a folder that is no run's, and GamesNotFoundError where a lost game is not at hand, or
    none is of the split.
    """
    found: dict[str, GameRef] = {}
    for run in runs:
        if run in before:
            raise RunFolderError("by its run.json it plays the games that it has lost itself")
        stamp = read_stamp(run)
        try:
            games = games_of_run(stamp, (), [*before, run])
        except RunFolderError as error:
            raise RunFolderError(f"{run}: {error}") from None
        for episode in read_journal(run / JOURNAL).episodes():
            if not episode.success and layout.may_stand_for(episode.split, split):
                found[episode.game_id] = replace(_found(games, episode, run), split=split)
    names = ", ".join(run.name for run in runs)
    if not found:
        raise GamesNotFoundError(f"no games found: {names} lost none of the split {split!r}")
    refs = tuple(sorted(found.values()))
    folder = next((ref.path.parent for ref in refs if ref.path), runs[0])
    return Games(refs, split, folder, f"{counted(len(refs), 'game')} of {split} that {names} lost")


def _found(games: PlayedGames, episode: Episode, run: Path) -> GameRef:
    ref = games.ref(episode.game_id, episode.split, episode.index)
    if ref is None:
        raise GamesNotFoundError(
            f"{run}: episode {episode.index} lost {episode.game_id}, which is not at hand; put its games where they"
            " were, or play the run again with this version"
        )
    if isinstance(games, StreamedGames):
        return replace(ref, make=partial(make_game, games.source, episode.index))
    return ref


def load_game(ref: GameRef | None) -> Game | None:
    """Return a game that was found, None where there is none or it cannot be read."""
    try:
        return ref.load() if ref else None
    except GameFileError:
        return None
