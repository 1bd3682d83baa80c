"""Where games come from: a data folder's split, any folder of game files, a single file, the package itself.

Whatever the source, the result is a `Games`: sorted `GameRef`s, each of which loads its game. The embedded set
(`embedded.py`) and the stream of generated games (`stream.py`) give refs that make their games without a file.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from alfworld_sft.errors import GameFileError, GamesNotFoundError, UserError, os_reason
from alfworld_sft.games import layout
from alfworld_sft.games.index import CONTRADICTED, Index, IndexEntry, index_file, index_folder
from alfworld_sft.games.refs import GameRef, Games, SkippedFile, count_reasons, skipped_in_words
from alfworld_sft.world.gamefile import load_game

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


EMBEDDED = "embedded"
"""The source that is the set inside the package."""
GENERATE = "generate"
"""The source that is a stream of generated games."""
HOW_TO_GET_GAMES = (
    "get the official games with 'alfworld-sft games fetch', make some with 'alfworld-sft games generate',"
    f" or play those that come with the package (source {EMBEDDED!r})"
)
NO_GAME_FILE = "without a game file beside traj_data.json"
COPY = "listed already (same id, same content)"
OTHER_SPLIT = "of the split"
"""How the reason begins of a file that another split of the same folder has."""


class NoUsableGamesError(GamesNotFoundError):
    """A folder in which every file was skipped."""

    def __init__(self, message: str, folder: Path, skipped_files: Sequence[SkippedFile]) -> None:
        super().__init__(message)
        self.folder = folder
        self.skipped_files = tuple(skipped_files)


def find_games(source: str | Path | None = None, split: str = "train") -> Games:
    """Return the games of one split.

    `source` is a data folder, any folder with `*.tw-pddl` files, one such file, or "embedded" for the games that come
    with the package; None means `$ALFWORLD_DATA`, or the embedded games where that is not set. In a folder of another
    layout a file belongs to the split that its place names (`…/SPLIT/TASK/TRIAL/game.tw-pddl`), or else to the split
    asked for.

    Raises UserError for an unknown split, GameFileError for a single file that is no playable game, and
    GamesNotFoundError where there is none.
    """
    layout.check_split(split)
    source = resolve_source(source)
    if source == EMBEDDED:
        return _embedded_games_of(split)
    place = _place(source)
    if place.is_file():
        return _one_game(place, split)
    data = layout.data_folder(place)
    folder = layout.split_folder(data, split) if data else place
    if folder is None:
        raise GamesNotFoundError(
            f"no games found: {data} has no folder {split!r}, only {', '.join(layout.existing_splits(data or place))};"
            f" {HOW_TO_GET_GAMES}"
        )
    return _games_in(folder, split, lambda file: split if data else layout.split_of(file) or split)


def find_all_games(source: str | Path | None = None) -> list[Games]:
    """Return the games of every split that has any, or has files that were all skipped.

    Raises GamesNotFoundError where no split has games.
    Outside ALFWorld's layout, files whose place names no split count as `train`.
    """
    source = resolve_source(source)
    if source == EMBEDDED:
        return [_embedded_games_of(split) for split in ("train", "valid_seen", "valid_unseen")]
    place = _place(source)
    data = layout.data_folder(place)
    found: list[Games] = []
    problem: GamesNotFoundError | None = None
    for split in _splits_at(place, data):
        try:
            if data or place.is_file():
                found.append(find_games(place, split))
            else:
                found.append(_games_in(place, split, lambda file: layout.split_of(file) or "train"))
        except NoUsableGamesError as error:
            problem = error
            if error.skipped_files:
                nothing = f"0 {split} games in {error.folder}"
                found.append(Games((), split, error.folder, nothing, error.skipped_files))
        except GamesNotFoundError as error:
            problem = error
    if problem and not any(map(len, found)):
        raise problem
    return found


def resolve_source(source: str | Path | None) -> str | Path:
    """Return the source meant by `source`: itself, or else `$ALFWORLD_DATA`, or else the embedded games."""
    return source or os.environ.get("ALFWORLD_DATA", "").strip() or EMBEDDED


def _embedded_games_of(split: str) -> Games:
    from alfworld_sft.games.embedded import embedded_games  # noqa: PLC0415 (it needs this module's Games)

    return embedded_games(split)


def _splits_at(place: Path, data: Path | None) -> list[str]:
    if data:
        present: list[str] = list(layout.existing_splits(data))
        return present if "train" in present else ["train" if split == "valid_train" else split for split in present]
    files = [place] if place.is_file() else [place / entry.path for entry in index_folder(place).entries]
    named = {layout.split_of(file) or "train" for file in files}
    return [split for split in layout.SPLITS if split in named] or ["train"]


def _place(source: str | Path) -> Path:
    """Return the absolute path of an existing folder or game file; raises GamesNotFoundError."""
    if source == GENERATE:
        raise UserError(f"the source {GENERATE!r} makes a game for every episode: there is no list of its games")
    place = Path(os.path.expanduser(source)).absolute()  # noqa: PTH111 - leaves the home of nobody as it is
    try:
        exists = place.exists()
    except OSError as error:
        raise GamesNotFoundError(f"no games found: {place}: {os_reason(error)}; {HOW_TO_GET_GAMES}") from None
    if not exists:
        raise GamesNotFoundError(f"no games found: {place} does not exist; {HOW_TO_GET_GAMES}")
    if place.is_file() and place.suffix == ".zip":
        raise GamesNotFoundError(
            f"no games found: {place} is an archive; unpack it with 'alfworld-sft games fetch --from {place.name}'"
        )
    if place.is_file() and not place.name.endswith(layout.GAME_SUFFIX):
        raise GamesNotFoundError(f"no games found: {place} is not a {layout.GAME_SUFFIX} file; {HOW_TO_GET_GAMES}")
    for root in (place, *place.parents[:2]):
        if (root / layout.WORK_FOLDER / layout.READY_FOLDER).exists():
            raise UserError(
                f"{root}: 'alfworld-sft games fetch' is moving files there, or was broken off; run it again to finish"
            )
    return place


def _one_game(file: Path, split: str) -> Games:
    try:
        entry = index_file(file)
    except OSError as error:
        raise GameFileError(str(file), os_reason(error)) from None
    if entry.problem == CONTRADICTED:
        load_game(file)  # which says how
    if entry.problem:
        raise GameFileError(str(file), f"it is {entry.detail or entry.problem}")
    own = layout.split_of(file) or split
    if not layout.may_stand_for(own, split):
        raise GamesNotFoundError(f"no games found: {file} is a game of the split {own!r}, not of {split!r}")
    ref = _ref(file.parent, entry, split)
    return Games((ref,), split, file.parent, f"the game {file}")


def _games_in(folder: Path, split: str, own_split: Callable[[Path], str]) -> Games:
    """Return the folder's games of the split; `own_split` says of a file which one it belongs to."""
    index = index_folder(folder)
    skipped_files = [SkippedFile(folder / path, NO_GAME_FILE) for path in index.folders_without_game]
    entries: list[IndexEntry] = []
    for entry in index.entries:
        own = own_split(folder / entry.path)
        if entry.problem:
            skipped_files.append(SkippedFile(folder / entry.path, entry.problem, entry.detail))
        elif not layout.may_stand_for(own, split):
            skipped_files.append(SkippedFile(folder / entry.path, f"{OTHER_SPLIT} {own!r}"))
        else:
            entries.append(entry)
    refs, copies = _refs(folder, entries, split)
    skipped_files += copies
    skipped_files.sort(key=lambda file: file.path)
    if not refs:
        raise _nothing_found(folder, index, skipped_files)
    subset = " (a published subset of train)" if split == "train" and folder.name == "valid_train" else ""
    description = f"{len(refs)} {split} game{'s' * (len(refs) != 1)} in {folder}{subset}"
    return Games(refs, split, folder, description, tuple(skipped_files))


def _refs(folder: Path, entries: list[IndexEntry], split: str) -> tuple[tuple[GameRef, ...], list[SkippedFile]]:
    """Give every game an id of its own: of copies one stays, different games with one id go by their paths."""
    copies: list[SkippedFile] = []
    by_id: dict[str, dict[str, GameRef]] = {}
    for entry in entries:
        ref = _ref(folder, entry, split)
        same_id = by_id.setdefault(ref.id, {})
        if ref.sha256 in same_id:
            copies.append(SkippedFile(folder / entry.path, COPY))
        same_id.setdefault(ref.sha256, ref)
    refs = [
        ref if len(same_id) == 1 else _with_path_id(ref, folder)
        for same_id in by_id.values()
        for ref in same_id.values()
    ]
    shared = Counter(ref.id for ref in refs)  # as of x.tw-pddl and x/game.tw-pddl
    return tuple(sorted(_with_file_id(ref, folder) if shared[ref.id] > 1 else ref for ref in refs)), copies


def _ref(folder: Path, entry: IndexEntry, split: str) -> GameRef:
    path = folder / entry.path
    return GameRef(layout.game_id(path, folder), split, entry.sha256, path, entry.task_type, entry.scene)


def _with_path_id(ref: GameRef, folder: Path) -> GameRef:
    return replace(ref, id=layout.path_id(ref.path, folder)) if ref.path else ref


def _with_file_id(ref: GameRef, folder: Path) -> GameRef:
    return replace(ref, id=layout.plain_text(ref.path.relative_to(folder).as_posix())) if ref.path else ref


def _nothing_found(folder: Path, index: Index, skipped_files: Sequence[SkippedFile]) -> NoUsableGamesError:
    reasons = skipped_in_words(count_reasons(skipped_files))
    what = f"all were skipped: {reasons}" if reasons else f"it holds no {layout.GAME_SUFFIX} files"
    if not index.entries and index.trials_without_game:
        what = f"it holds {index.trials_without_game} {layout.TRAJ_FILE} but no {layout.GAME_SUFFIX} files"
    others = [split for split in layout.existing_splits(folder.parent) if folder.parent / split != folder]
    beside = f" (other splits there: {', '.join(others)})" if folder.name in layout.SPLITS and others else ""
    return NoUsableGamesError(f"no games found in {folder}: {what}{beside}; {HOW_TO_GET_GAMES}", folder, skipped_files)
