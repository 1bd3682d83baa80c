"""Which games are there? Their counts beside the official ones, their wording, and what cannot be used."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from alfworld_sft.counts import counted
from alfworld_sft.doctor.line import Line, fine, fix, note
from alfworld_sft.errors import GameFileError, UserError
from alfworld_sft.games import EMBEDDED, Games, find_all_games
from alfworld_sft.games.layout import default_data_dir

OFFICIAL: Mapping[str, int] = {"train": 3553, "valid_seen": 140, "valid_unseen": 134}
"""Sizes of the published splits."""


def judge_games(source: str | None) -> Iterator[Line]:
    """Yield a line for each split of a source, of $ALFWORLD_DATA, or of the embedded games."""
    named = source or os.environ.get("ALFWORLD_DATA", "").strip()
    try:
        found = find_all_games(named or None)
    except UserError as error:
        yield fix("games", str(error), "alfworld-sft games fetch, or unset ALFWORLD_DATA to play the embedded games")
        return
    if not named or named == EMBEDDED:
        total = sum(map(len, found))
        place = default_data_dir()
        if not named and (place / "json_2.1.1").is_dir():
            yield note("games", f"{total} embedded games; {place} is not used", f"export ALFWORLD_DATA={place}")
        else:
            yield note("games", f"{total} embedded games", "for the official ones: alfworld-sft games fetch")
        return
    for games in found:
        yield _judge_split(games)


def _judge_split(games: Games) -> Line:
    thing = f"games, {games.split}"
    if games.skipped_files:
        usable = f"{len(games)} usable, {len(games.skipped_files)} skipped (the first: {games.skipped_files[0]})"
        return fix(
            thing,
            usable,
            f"alfworld-sft games list --source {games.folder} --skipped; alfworld-sft games fetch --force",
        )
    try:
        wording = games.refs[0].load().grammar
    except GameFileError as error:
        return fix(thing, str(error), "alfworld-sft games fetch --force")
    official = OFFICIAL.get(games.split, 0)
    found = f"{counted(len(games), 'game')} of {official}, which say {wording!r} for putting down"
    if len(games) < official:
        return note(thing, found, "results on fewer games are not comparable; for all: alfworld-sft games fetch")
    return fine(thing, found)
