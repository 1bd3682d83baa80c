"""Are a run's dataset files still those that it wrote? Their hashes are in its stamp."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alfworld_sft.check.findings import Section
from alfworld_sft.errors import file_errors
from alfworld_sft.files import sha256_of
from alfworld_sft.runs.store import make_again, resume_command


def report_files(folder: Path, stamp: Mapping[str, Any]) -> Section:
    """Return which files are missing or changed since the stamp was written."""
    section = Section("files")
    hashes = stamp.get("sha256")
    if not isinstance(hashes, Mapping):
        section.warn(
            "unfinished", f"the run has not written its dataset; finish it with: {resume_command('collect', folder)}"
        )
        return section
    again = make_again(stamp, folder)
    for name, expected in sorted(hashes.items()):
        path = folder / Path(str(name)).name
        if not path.is_file():
            section.fault("missing", f"{path.name} is missing; {again}")
            continue
        with file_errors("read", path, again):
            if sha256_of(path) != expected:
                section.fault("changed", f"{path.name} is not the file that the run wrote; {again}")
    if not section.findings:
        section.fact("files", f"{len(hashes)} files are as the run wrote them")
    return section
