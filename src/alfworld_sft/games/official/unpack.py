"""An archive of games, unpacked safely: everything is checked before anything is written.

Only files at `…/SPLIT/TASK/TRIAL/NAME` with a wanted NAME are unpacked, to `json_2.1.1/SPLIT/TASK/TRIAL/NAME`,
whatever folder the archive puts before them. Tasks that the text world has no games for (movable receptacles, sliced
objects) are left out. One hostile member makes the archive refused.
"""

from __future__ import annotations

import re
import stat
import unicodedata
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from alfworld_sft.errors import DownloadError
from alfworld_sft.games.layout import DATA_FOLDER, SPLITS, has_no_text_game

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_DEVICE_NAMES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_CHUNK_BYTES = 1 << 20
_BROKEN_MEMBER = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may hold at most; the published ones hold a few thousand files of about 80 KB."""

    members: int = 500_000
    file_bytes: int = 64 * 2**20
    total_bytes: int = 8 * 2**30
    ratio: int = 250
    """Unpacked to packed size, of the archive as a whole and of each member above 1 MiB."""


def unpack(
    archive: Path,
    into: Path,
    keep: Collection[str],
    *,
    limits: Limits | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, int]:
    """Unpack the wanted files below `into` and return their numbers by file name.

    `keep` holds file names. Raises DownloadError, which names archive, member and reason, and leaves `into` to be
    deleted by the caller; OSError where the disk is full or cannot be written.
    """
    try:
        opened = zipfile.ZipFile(archive)
    except _BROKEN_MEMBER as error:
        raise DownloadError(f"{archive}: not a zip archive, or a damaged one ({error})") from None
    with opened:
        try:
            wanted = plan(opened, archive.stat().st_size, keep, limits or Limits())
            total = sum(member.file_size for member in wanted.values())
            done = 0
            for target, member in wanted.items():
                done += _write_member(opened, member, into / target)
                on_progress(done, total)
        except _RefusedError as error:
            raise DownloadError(f"{archive}: refused: {error}; nothing was unpacked from it") from None
    return dict(sorted(Counter(target.name for target in wanted).items()))


def is_unpacked(archive: Path, into: Path, keep: Collection[str]) -> bool:
    """Return whether all the wanted files of an archive that has been unpacked before are below `into`."""
    with zipfile.ZipFile(archive) as opened:
        targets = {_target(member, keep) for member in opened.infolist()} - {None}
    return all(file.is_file() and file.stat().st_size for file in (into / target for target in targets if target))


class _RefusedError(Exception):
    """Why the archive is not unpacked."""


def plan(
    opened: zipfile.ZipFile, archive_bytes: int, keep: Collection[str], limits: Limits
) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """Check every member and return the wanted ones by where they go."""
    members = opened.infolist()
    if len(members) > limits.members:
        raise _RefusedError(f"it has {len(members)} members, more than {limits.members}")
    seen: set[str] = set()
    wanted: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for member in members:
        _check_name(member)
        _check_kind(member)
        same = unicodedata.normalize("NFC", member.filename.rstrip("/")).casefold()
        if same in seen:
            raise _RefusedError(f"two members are named {member.filename!r}")
        seen.add(same)
        target = _target(member, keep)
        if target in wanted:
            raise _RefusedError(f"two members would become {str(target)!r}")
        if target:
            _check_size(member, limits)
            wanted[target] = member
    total = sum(member.file_size for member in wanted.values())
    if total > limits.total_bytes or total > limits.ratio * max(archive_bytes, 1 << 20):
        raise _RefusedError(f"it would unpack to {total} bytes from {archive_bytes}, more than games do")
    if not wanted:
        names = " or ".join(sorted(keep))
        raise _RefusedError(f"none of its {len(members)} members is a …/SPLIT/TASK/TRIAL/{names}")
    return wanted


def _check_name(member: zipfile.ZipInfo) -> None:
    name = member.orig_filename  # `filename` is already cut at a NUL
    parts = name.removesuffix("/").split("/")
    if name.startswith("/") or ".." in parts:
        raise _RefusedError(f"member {name!r} leads out of the folder")
    if any(character in '\\:*?"<>|' or ord(character) < 32 for character in name):
        raise _RefusedError(f"member {name!r} has a character that a file name must not have")
    if any(not part or part == "." or part[-1] in ". " or _DEVICE_NAMES.fullmatch(part) for part in parts):
        raise _RefusedError(f"member {name!r} is not a plain file name")


def _check_kind(member: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if stat.S_ISLNK(kind):
        raise _RefusedError(f"member {member.filename!r} is a symbolic link")
    if kind and not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise _RefusedError(f"member {member.filename!r} is not a plain file")
    if member.flag_bits & 0x41:
        raise _RefusedError(f"member {member.filename!r} is encrypted")


def _check_size(member: zipfile.ZipInfo, limits: Limits) -> None:
    packed, unpacked = member.compress_size, member.file_size
    if unpacked > limits.file_bytes or unpacked > max(1 << 20, limits.ratio * packed):
        raise _RefusedError(f"member {member.filename!r} would unpack to {unpacked} bytes from {packed}")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _RefusedError(f"member {member.filename!r} is packed by the unusual method {member.compress_type}")


def _target(member: zipfile.ZipInfo, keep: Collection[str]) -> PurePosixPath | None:
    parts = PurePosixPath(member.filename).parts[-4:]
    if member.is_dir() or len(parts) < 4 or parts[0] not in SPLITS or parts[3] not in keep:
        return None
    if has_no_text_game(member.filename):
        return None
    return PurePosixPath(DATA_FOLDER, *parts)


def _write_member(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> int:
    """Write one member and return its size; zipfile checks its CRC and stops at the declared size."""
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    try:
        with opened.open(member) as packed, target.open("xb") as file:
            while chunk := packed.read(_CHUNK_BYTES):
                written += file.write(chunk)
    except _BROKEN_MEMBER as error:
        raise _RefusedError(f"member {member.filename!r} is damaged ({error})") from None
    if written != member.file_size:
        raise _RefusedError(f"member {member.filename!r} is damaged ({written} bytes, not {member.file_size})")
    return written
