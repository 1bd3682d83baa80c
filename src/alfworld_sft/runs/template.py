"""Which template was a stored run played with? The same one, to the letter, and no file that the run alone names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alfworld_sft.errors import RunFolderError
from alfworld_sft.prompts.template import Template, load_template
from alfworld_sft.runs.run_json import hash_template
from alfworld_sft.runs.trust import is_known


def template_of_run(
    stamp: Mapping[str, Any], path: Path, named: str | None = None, *, option: str = "--template "
) -> Template:
    """Return the template of the run at `path`, or the one `named` in its place, by the command's `option`.

    Raises RunFolderError if the run does not say which, if it is another by now, or if it is a file of a run that this
    user has not started: a stored run is data. Raises TemplateError if it cannot be read.
    """
    try:
        name, sha256 = named or stamp["config"]["prompt"]["template"], stamp["protocol"]["template_sha256"]
        if not isinstance(name, str):
            raise TypeError
    except (KeyError, TypeError):
        raise RunFolderError(f"{path}: its run.json does not say which template it was played with") from None
    if named is None and name.endswith(".toml") and not is_known(stamp):
        raise RunFolderError(f"{path}: its template is the file {name}; to open it, name it: {option}{name}")
    template = load_template(name)
    if hash_template(template) != sha256:
        raise RunFolderError(
            f"{path}: the template {name} is another now than when the run was played; name the one of that time:"
            f" {option}FILE"
        )
    return template
