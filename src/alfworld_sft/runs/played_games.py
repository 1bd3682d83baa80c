"""Which game was an episode played in, and which games did runs lose?

A game is found by its id among the games of a run, or by its number in a stream of games.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pydantic import ValidationError

from alfworld_sft.counts import counted
from alfworld_sft.errors import GameFileError, GamesNotFoundError, RunFolderError
from alfworld_sft.games import GENERATE, GameRef, Games, GameSource, GameStream, layout
from alfworld_sft.games.listed import ListedGames, games_at_hand, list_games
from alfworld_sft.games.refs import make_game
from alfworld_sft.runs.config import PREFIXES, GamesToPlay
from alfworld_sft.runs.journal import Journal, read_journal
from alfworld_sft.runs.store import JOURNAL, read_stamp, resume_command
from alfworld_sft.types import Episode
from alfworld_sft.world import Env, Game

logger = logging.getLogger(__name__)


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


class _Lost(NamedTuple):
    """An episode that lost its game; `record` is None where it ended in an error."""

    number: int
    game_id: str
    split: str
    record: Episode | None


def lost_games(runs: Sequence[Path], split: str, before: Sequence[Path] = ()) -> Games:
    """Return the games of a split that at least one of the runs has lost, as far as they have been played.

    An episode that ended in an error counts as lost, as in an evaluation. Raises RunFolderError for a folder that is no
    run's, and GamesNotFoundError where a lost game is not at hand, or none is of the split.
    """
    found: dict[str, GameRef] = {}
    for run in runs:
        if run in before:
            raise RunFolderError("by its run.json it plays the games that it has lost itself")
        stamp = _stamp_of_lost(run)
        try:
            games = games_of_run(stamp, (), [*before, run])
        except RunFolderError as error:
            raise RunFolderError(f"{run}: {error}") from None
        journal = read_journal(run / JOURNAL)
        _note_what_may_change(run, stamp, journal)
        for lost in _lost_in(journal, stamp):
            if layout.may_stand_for(lost.split, split):
                found[lost.game_id] = replace(_found(games, lost, run, stamp), split=split)
    names = ", ".join(run.name for run in runs)
    if not found:
        raise GamesNotFoundError(f"no games found: {names} lost none of the split {split!r}")
    refs = tuple(sorted(found.values()))
    folder = next((ref.path.parent for ref in refs if ref.path), runs[0])
    return Games(refs, split, folder, f"{counted(len(refs), 'game')} of {split} that {names} lost")


def _stamp_of_lost(run: Path) -> dict[str, Any]:
    """Return the stamp of a run whose lost games are played; raises RunFolderError, which says how to name it anew."""
    try:
        return read_stamp(run)
    except RunFolderError as error:
        raise RunFolderError(
            f"games.lost_by: {error}; if the run has moved, say where it is now with games.lost_by=[DIR] (for a run"
            " that plays them: alfworld-sft collect --resume RUN games.lost_by=[DIR])"
        ) from None


def _lost_in(journal: Journal, stamp: Mapping[str, Any]) -> Iterator[_Lost]:
    for episode in journal.episodes():
        if not episode.success:
            yield _Lost(episode.index, episode.game_id, episode.split, episode)
    for failed in journal.failed:
        yield _Lost(failed.index, failed.game_id, str(stamp["config"]["games"].get("split")), None)


def _note_what_may_change(run: Path, stamp: Mapping[str, Any], journal: Journal) -> None:
    """Warn of a run that may go on: what is begun with its lost games of today could then not be resumed."""
    total = stamp.get("num_episodes")
    if stamp.get("status") == "complete" or (isinstance(total, int) and len(journal) >= total):
        return
    failed = f", {counted(len(journal.failed), 'episode')} ended in an error" if journal.failed else ""
    logger.warning(
        "%s is not complete: it has played %d of %s episodes%s; if it is resumed and loses other games, what uses its"
        " lost games cannot be resumed",
        run, len(journal.lines), total, failed,
    )  # fmt: skip


def _found(games: PlayedGames, lost: _Lost, run: Path, stamp: Mapping[str, Any]) -> GameRef:
    """Return the game that was lost; raises GamesNotFoundError where it is not there, or another one is."""
    ref = games.ref(lost.game_id, lost.split, lost.number)
    what = f"{run}: episode {lost.number} lost {lost.game_id}"
    if isinstance(games, StreamedGames):
        if ref is None:
            raise GamesNotFoundError(f"{what}, which this version does not generate; play the run again with it")
        return replace(ref, make=partial(make_game, games.source, lost.number))
    way_out = "put its games where they were"
    if stamp.get("kind") in PREFIXES:
        way_out += f", or name their folder: {resume_command(stamp['kind'], run)} games.source=FOLDER"
    if ref is None:
        raise GamesNotFoundError(f"{what}, which is not at hand; {way_out}")
    if ref.path and lost.record and _is_another(ref.load(), lost.record):
        raise GamesNotFoundError(f"{what}, and {ref.path} holds another game now; {way_out}")
    return ref


def _is_another(game: Game, episode: Episode) -> bool:
    """Return whether a game is not the one of an episode: in task, wording, or what can be done first."""
    if (game.task, game.grammar) != (episode.task, episode.grammar):
        return True
    first = set(episode.steps[0].admissible_commands) if episode.steps else None
    return bool(first) and first != set(Env(game).reset().admissible_commands)


def load_game(ref: GameRef | None) -> Game | None:
    """Return a game that was found, None where there is none or it cannot be read."""
    try:
        return ref.load() if ref else None
    except GameFileError:
        return None
