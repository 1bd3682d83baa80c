"""Which games are there? Their counts beside the official ones, their wording, and what cannot be used."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping

from alfworld_sft.counts import counted
from alfworld_sft.doctor.line import Line, fine, fix, note
from alfworld_sft.errors import GameFileError, UserError
from alfworld_sft.games import EMBEDDED, Games, find_all_games
from alfworld_sft.games.index import MOVABLE_OR_SLICED, UNSOLVABLE
from alfworld_sft.games.layout import default_data_dir
from alfworld_sft.games.sources import COPY, NO_GAME_FILE, OTHER_SPLIT

NOT_MEANT_TO_BE_PLAYED = (NO_GAME_FILE, UNSOLVABLE, MOVABLE_OR_SLICED, COPY, OTHER_SPLIT)
"""How the reasons begin for which files are no games of a split though nothing is broken."""
OFFICIAL: Mapping[str, int] = {"train": 3553, "valid_seen": 140, "valid_unseen": 134}
"""Sizes of the published splits."""


def judge_games(source: str | None) -> Iterator[Line]:
    """Yield a line for each split of a source, of $ALFWORLD_DATA, or of the embedded games."""
    named = source or os.environ.get("ALFWORLD_DATA", "").strip()
    try:
        found = find_all_games(named or None)
    except UserError as error:
        instead = "name another --source" if source else "unset ALFWORLD_DATA to play the embedded games"
        yield fix("games", str(error), f"alfworld-sft games fetch, or {instead}")
        return
    if not named or named == EMBEDDED:
        total = sum(map(len, found))
        place = default_data_dir()
        if not named and (place / "json_2.1.1").is_dir():
            yield note(
                "games",
                f"{total} embedded games; {place} is not used",
                f"export ALFWORLD_DATA={shlex.quote(str(place))}",
            )
        else:
            yield note("games", f"{total} embedded games", "for the official ones: alfworld-sft games fetch")
        return
    for games in found:
        yield _judge_split(games)


def _judge_split(games: Games) -> Line:
    thing = f"games, {games.split}"
    broken = [skipped for skipped in games.skipped_files if not skipped.reason.startswith(NOT_MEANT_TO_BE_PLAYED)]
    if not games.refs:
        return fix(thing, f"none usable (the first: {games.skipped_files[0]})", "fetch or make them again")
    if broken:
        usable = f"{len(games)} usable, {len(broken)} broken (the first: {broken[0]})"
        place = shlex.quote(str(games.folder))
        return fix(thing, usable, f"alfworld-sft games list --source {place} --skipped; fetch or make them again")
    try:
        wording = games.refs[0].load().grammar
    except GameFileError as error:
        return fix(thing, str(error), "fetch it again (alfworld-sft games fetch --force), or remove it")
    official = OFFICIAL.get(games.split, 0)
    found = f"{counted(len(games), 'game')} of {official}, which say {wording!r} for putting down"
    if len(games) < official:
        return note(thing, found, "results on fewer games are not comparable; for all: alfworld-sft games fetch")
    return fine(thing, found)
