"""How is a training run logged to wandb? Online if there is a key, offline otherwise.

A resumed run keeps its id. Offline, each part between two stops has its own folder under `wandb/`; together they are
one run, and `close` says how to upload them.
"""

from __future__ import annotations

import inspect
import logging
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alfworld_sft.errors import UserError
from alfworld_sft.files import whole_file

logger = logging.getLogger(__name__)

WANDB_ID = "wandb_id"
KEYS = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")


class WandbRun:
    """One part of a run: from a start or resume to the next stop."""

    def __init__(self, folder: Path, project: str, experiment: str, config: Mapping[str, Any]) -> None:
        """Start, offline if there is no key and $WANDB_MODE is unset; raises UserError if wandb cannot start."""
        import wandb  # noqa: PLC0415 - only where it is wanted

        self._folder, self._id = folder, _id_of(folder)
        try:
            mode = os.environ.get("WANDB_MODE") or (None if _has_key(wandb) else "offline")
            if mode == "offline" and not os.environ.get("WANDB_MODE"):
                logger.warning("wandb finds no API key, so this run is written offline (WANDB_MODE=offline)")
            # wandb may have read $WANDB_MODE earlier, so the mode is passed as an argument.
            resume = {} if mode in ("offline", "dryrun") else {"resume": "allow"}
            self._run = wandb.init(
                project=project, name=experiment, id=self._id, dir=str(folder), config=dict(config), mode=mode, **resume
            )
        except Exception as error:  # wandb has its own exception classes, and raises others as well
            reason = " ".join(str(error).split()).rstrip(".")
            way_out = "try WANDB_MODE=offline, or leave it out of trainer.logger"
            raise UserError(f"wandb cannot start: {reason}; {way_out}") from None

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log the values of a step."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """End the run; for a resumed one, say how to upload its offline parts (wandb does so for a single part)."""
        self._run.finish()
        parts = sorted(self._folder.glob(f"wandb/*run-*-{self._id}*"))
        offline = [part for part in parts if part.name.startswith("offline-")]
        if offline and len(parts) > 1:
            append = "--append " if _sync_needs_append() else ""
            paths = shlex.join(map(str, offline))
            logger.info(
                "this run has %d parts in wandb, %d of them offline; to upload: wandb sync %s%s",
                len(parts), len(offline), append, paths,
            )  # fmt: skip


def _sync_needs_append() -> bool:
    """Return whether `wandb sync` needs an option to append; later versions detect a resumed run themselves."""
    from wandb.cli.cli import cli  # noqa: PLC0415 - only where it is wanted

    return any(parameter.name == "append" for parameter in cli.commands["sync"].params)


def _has_key(wandb: Any) -> bool:
    """Return whether wandb finds credentials: in the environment, its settings or a netrc file, without the network."""
    if any(map(os.environ.get, KEYS)):
        return True
    if "prompt" in inspect.signature(wandb.login).parameters:
        return bool(wandb.login(prompt=False, verify=False))
    return bool(wandb.api.api_key)  # older versions; newer ones warn about it


def _id_of(folder: Path) -> str:
    """Return the run's id in wandb, kept in its folder so that a resumed run continues the same curves."""
    path = folder / WANDB_ID
    if not path.exists():
        with whole_file(path) as file:
            file.write(os.urandom(4).hex().encode() + b"\n")
    return path.read_text(encoding="utf-8").strip()
