"""What lies in a folder of games, read once and remembered: sha256, playable or not, task type, scene.

A file is read again when its size, mtime or ctime differs from the remembered one, so added, removed, edited and
replaced files are noticed, even copies that keep size and mtime. Not noticed: a change in place that keeps the size
within one tick of the file system's clock (milliseconds), and another `traj_data.json` beside a game whose folder
already names task type and scene. Names that begin with a dot are passed over.

The memory is one JSON file per folder in the user's cache directory (`$ALFWORLD_SFT_CACHE_DIR` overrides it). It is
replaced atomically, so processes may share it, and it is only a memory: missing, broken or unwritable, the folder is
read as if for the first time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from errno import EINVAL
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, NamedTuple

import platformdirs

from alfworld_sft.errors import UserError, os_reason
from alfworld_sft.files import whole_file
from alfworld_sft.games.layout import GAME_FILE, GAME_SUFFIX, TRAJ_FILE, has_no_text_game, read_task_folder
from alfworld_sft.types import TASK_TYPES, TaskType
from alfworld_sft.world.gamefile import MAX_FILE_BYTES, sentence_problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

logger = logging.getLogger(__name__)

INDEX_FORMAT = 2
MAX_TRAJ_BYTES = 16 * 2**20

MOVABLE_OR_SLICED = "with a movable receptacle or a sliced object"
UNSOLVABLE = "marked unsolvable"
CONTRADICTED = "contradicted by its own task sentence (it does not ask for the goal)"
UNCHECKED = "without a 'solvable' key"
BROKEN = "broken (not a JSON object)"
TOO_LARGE = f"too large (more than {MAX_FILE_BYTES // 2**20} MiB)"

Stamp = tuple[int, ...]
"""Size, mtime and ctime in ns of the game file; then of `traj_data.json`, where the entry depends on it."""


class IndexEntry(NamedTuple):
    """One game file: `path` is '/'-separated and relative to the folder; `problem` says why it is skipped, or None.

    Skipped files are counted by `problem`; `detail` says more exactly what is wrong with this one, where that is known.
    """

    path: str
    stamp: Stamp
    sha256: str
    task_type: TaskType | None
    scene: int | None
    problem: str | None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Index:
    """All game files of a folder, and the folders with a `traj_data.json` but no game file; both sorted by path."""

    entries: tuple[IndexEntry, ...]
    folders_without_game: tuple[str, ...]

    @property
    def trials_without_game(self) -> int:
        """How many `traj_data.json` have no game file beside them."""
        return len(self.folders_without_game)


def index_folder(folder: Path) -> Index:
    """List the game files of a folder and its subfolders; raises UserError where a folder cannot be read."""
    found = _scan(folder)
    memory = _memory_file(folder)
    known = _recall(memory)
    entries = tuple(_entry(folder, path, found, known) for path in sorted(found.games))
    if entries != tuple(known.values()):
        _remember(memory, entries)
    return Index(entries, tuple(sorted(found.trajs.keys() - found.folders_with_game)))


def index_file(file: Path) -> IndexEntry:
    """Read one game file without the memory; raises OSError where there is none."""
    stamp = _stamp(file.stat())
    asks_traj = file.name == GAME_FILE and (file.parent / TRAJ_FILE).is_file()
    asks_traj = asks_traj and not _task_from_place(file.parent, file.name)
    return _read_game_file(file.parent, file.name, stamp, asks_traj=asks_traj)


class _Found(NamedTuple):
    games: dict[str, Stamp | OSError]  # path below the folder → stamp, or why it has none, as a link to nothing
    trajs: dict[str, Stamp]  # path of the folder that holds a traj_data.json → stamp
    folders_with_game: set[str]


def _scan(folder: Path) -> _Found:
    found = _Found({}, {}, set())
    for prefix, entry in _files(str(folder), "", ()):
        is_game = entry.name.endswith(GAME_SUFFIX)
        if not is_game and entry.name != TRAJ_FILE:
            continue
        try:
            stamp: Stamp | OSError = _stamp(entry.stat())
        except OSError as error:
            stamp = error
        if is_game:
            found.games[prefix + entry.name] = stamp
            found.folders_with_game.add(prefix)
        elif not isinstance(stamp, OSError):
            found.trajs[prefix] = stamp
    return found


def _files(folder: str, prefix: str, above: tuple[str, ...]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield ("path/of/folder/", entry) for every file below; a link to a folder above it is not followed."""
    try:
        with os.scandir(folder) as listing:
            entries = list(listing)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {os_reason(error)}") from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if not entry.is_dir():
            yield prefix, entry
        elif not entry.is_symlink():
            yield from _files(entry.path, f"{prefix}{entry.name}/", above)
        elif (real := os.path.realpath(entry.path)) not in above and not _contains(real, folder):
            yield from _files(entry.path, f"{prefix}{entry.name}/", (*above, real))


def _contains(outer: str, inner: str) -> bool:
    return (os.path.realpath(inner) + os.sep).startswith(outer.rstrip(os.sep) + os.sep)


def _stamp(stat: os.stat_result) -> Stamp:
    if not S_ISREG(stat.st_mode):  # a pipe would keep us waiting
        raise OSError(EINVAL, "not a regular file")
    return (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def _entry(folder: Path, path: str, found: _Found, known: Mapping[str, IndexEntry]) -> IndexEntry:
    stamp = found.games[path]
    if has_no_text_game(path):
        return IndexEntry(path, () if isinstance(stamp, OSError) else stamp, "", None, None, MOVABLE_OR_SLICED)
    if isinstance(stamp, OSError):
        return _unreadable(path, stamp)
    prefix = path[: path.rfind("/") + 1]
    asks_traj = path.endswith(GAME_FILE) and prefix in found.trajs and not _task_from_place(folder, path)
    if asks_traj:
        stamp += found.trajs[prefix]
    remembered = known.get(path)
    if remembered is not None and remembered.stamp == stamp:
        return remembered
    return _read_game_file(folder, path, stamp, asks_traj=asks_traj)


def _task_from_place(folder: Path, path: str) -> tuple[TaskType, int] | None:
    """Read the name of the folder two above the file; it may be the folder itself or the one above that."""
    *_, task_folder, _trial, _file = (folder.parent.name, folder.name, *path.split("/"))
    return read_task_folder(task_folder)


def _read_game_file(folder: Path, path: str, stamp: Stamp, *, asks_traj: bool) -> IndexEntry:
    """Read what the index keeps of one file; a file that is no playable game gets an entry with its `problem`."""
    file = folder / path
    try:
        content = _read_limited(file, MAX_FILE_BYTES)
    except OSError as error:
        return _unreadable(path, error)
    task_type, scene = _task_from_place(folder, path) or (None, None)
    if asks_traj:
        task_type, scene = _read_traj(file.parent / TRAJ_FILE)
    return IndexEntry(path, stamp, hashlib.sha256(content).hexdigest(), task_type, scene, *_problem(content))


def _unreadable(path: str, error: OSError) -> IndexEntry:
    """Return the entry of a file that gave an error; without a stamp it is tried again next time."""
    return IndexEntry(path, (), "", None, None, f"unreadable ({os_reason(error)})")


def _problem(content: bytes) -> tuple[str | None, str | None]:
    """Return why a file is skipped, and more exactly what is wrong with it where that is known; None for neither."""
    if len(content) > MAX_FILE_BYTES:
        return TOO_LARGE, None
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        return BROKEN, f"broken (not JSON: {error})"
    if not isinstance(data, dict):
        return BROKEN, None
    if "solvable" not in data:
        return UNCHECKED, None
    if not data["solvable"]:
        return UNSOLVABLE, None
    reason = sentence_problem(data)
    return (CONTRADICTED, reason) if reason else (None, None)


def _read_traj(file: Path) -> tuple[TaskType | None, int | None]:
    try:
        data = json.loads(_read_limited(file, MAX_TRAJ_BYTES))
        named = data["task_type"]
        scene = data["scene"]["scene_num"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None, None
    task_type = next((known for known in TASK_TYPES if known == named), None)
    return task_type, scene if isinstance(scene, int) else None


def _read_limited(file: Path, limit: int) -> bytes:
    with file.open("rb") as stream:
        return stream.read(limit + 1)


def _memory_file(folder: Path) -> Path:
    cache = os.environ.get("ALFWORLD_SFT_CACHE_DIR") or platformdirs.user_cache_dir("alfworld-sft", appauthor=False)
    key = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:20]
    return Path(cache) / "games-index" / f"{key}.json"


def _recall(memory: Path) -> dict[str, IndexEntry]:
    """Return what is remembered of the files, by path; nothing where the memory is missing or broken."""
    try:
        data = json.loads(memory.read_bytes())
        if data["format"] != INDEX_FORMAT:
            return {}
        return {entry.path: entry for entry in map(_read_entry, data["files"])}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        logger.info("index of games %s is not usable (%s); reading the games again", memory, error)
        return {}


def _read_entry(row: Any) -> IndexEntry:
    path, stamp, sha256, task_type, scene, problem, detail = row
    text_or_none = (str, type(None))
    if (
        not (isinstance(path, str) and isinstance(sha256, str))
        or not (isinstance(problem, text_or_none) and isinstance(detail, text_or_none))
        or not all(isinstance(number, int) for number in stamp)
        or not (task_type is None or task_type in TASK_TYPES)
        or not (scene is None or isinstance(scene, int))
    ):
        raise ValueError("a damaged entry")
    return IndexEntry(path, tuple(stamp), sha256, task_type, scene, problem, detail)


def _remember(memory: Path, entries: tuple[IndexEntry, ...]) -> None:
    data = {"format": INDEX_FORMAT, "files": entries}
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(memory) as file:
            file.write(json.dumps(data, separators=(",", ":")).encode())
    except OSError as error:
        logger.info("index of games cannot be kept in %s: %s", memory.parent, os_reason(error))
