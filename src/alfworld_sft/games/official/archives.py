"""Which archives does `games fetch` get: the official ones, other addresses, or local copies?"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alfworld_sft.errors import UserError
from alfworld_sft.games.layout import GAME_FILE, TRAJ_FILE

URLS_VARIABLE = "ALFWORLD_SFT_ARCHIVE_URLS"


@dataclass(frozen=True, slots=True)
class Archive:
    """A zip file to fetch: an address, or the path of a local copy, and the names of the files to keep."""

    url: str
    keep: frozenset[str]
    sha256: str | None = None

    @property
    def name(self) -> str:
        """The file's name, which identifies the archive in `fetched.json` regardless of its origin."""
        return re.sub(r"[^\w.-]", "_", re.split(r"[?#]", self.url)[0].rstrip("/").rsplit("/", 1)[-1]) or "archive.zip"

    @property
    def local(self) -> Path | None:
        """The archive's path on this machine; None for a URL."""
        return None if "://" in self.url else Path(self.url)


_RELEASES = "https://github.com/alfworld/alfworld/releases/download"
OFFICIAL_ARCHIVES = (
    Archive(f"{_RELEASES}/0.4.0/json_2.1.2_tw-pddl.zip", frozenset({GAME_FILE})),
    Archive(f"{_RELEASES}/0.2.2/json_2.1.1_json.zip", frozenset({TRAJ_FILE})),
)
"""What `alfworld-download` (0.4.2) gets, as far as text games need it: game files, and `traj_data.json` beside them."""


def archives_from(
    urls: Sequence[str] = (), local: Sequence[Path] = (), sha256: Sequence[str] = ()
) -> tuple[Archive, ...]:
    """Return the archives to fetch: the local copies or the addresses given, else the official ones.

    Addresses come from the environment (`ALFWORLD_SFT_ARCHIVE_URLS`, between blanks) where none of these is given.
    `sha256` holds one hash for each archive, in the same order, or none. Raises UserError for anything else.
    """
    if urls and local:
        raise UserError("--url and --from exclude each other: name addresses, or local copies")
    urls = urls or ([] if local else os.environ.get(URLS_VARIABLE, "").split())
    given = [str(path.expanduser().absolute()) for path in local] or list(urls)
    for url in urls:
        if not re.match(r"https?://[^/]", url):
            raise UserError(f"--url {url!r} is not an http(s) address; use --from for a local copy")
    for path in given if local else ():
        if not Path(path).is_file():
            raise UserError(f"--from {path}: no such file")
    keep = frozenset({GAME_FILE, TRAJ_FILE})
    archives = tuple(Archive(url, keep) for url in given) or OFFICIAL_ARCHIVES
    names = [archive.name for archive in archives]
    if len(set(names)) < len(names):
        raise UserError(f"two archives have the same name: {', '.join(names)}")
    if not sha256:
        return archives
    if len(sha256) != len(archives):
        raise UserError(f"{len(sha256)} --sha256 for {len(archives)} archives ({', '.join(names)}): give one for each")
    for text in sha256:
        if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
            raise UserError(f"--sha256 {text!r} is not a SHA-256: 64 hexadecimal digits")
    return tuple(Archive(a.url, a.keep, text.lower()) for a, text in zip(archives, sha256, strict=True))
