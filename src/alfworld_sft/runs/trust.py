"""What may a stored run do to this machine? Nothing that its user has not allowed here.

A run's folder is data: it may come from anywhere. Anything that its config starts, contacts or loads (`reach_of`) is
used only if the command line names it again, if the user passes `--trust`, or if this user started the run: a record of
each such run is kept in the user's own state directory (`$ALFWORLD_SFT_STATE_DIR` overrides it), outside the run's
folder. A record is named by a hash of the run's kind, start, size and config, so it fits no other run and no edited
one.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import platformdirs

from alfworld_sft.errors import ConfigError, RunFolderError, os_reason
from alfworld_sft.runs.config import RunConfig
from alfworld_sft.values import read_value

logger = logging.getLogger(__name__)

STATE_VARIABLE = "ALFWORLD_SFT_STATE_DIR"
NAMEABLE: dict[str, Any] = {
    "dataset.require_success": bool,
    "dataset.rows_per": str,
    "dataset.val_fraction": float,
    "games.source": str | None,
    "games.lost_by": list[str] | None,
    "policy.base_url": str | None,
    "policy.model": str | None,
    "policy.serve": str | None,
    "prompt.template": str | None,
}
"""The keys that may be combined with --resume, with their types.

They say where things are, or which rows are written, but not what is played.
"""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the user allows a stored run: values named now, by key (None stands for null), or everything."""

    named: Mapping[str, Any] = field(default_factory=dict)
    everything: bool = False


def read_allowed(words: Sequence[str], *, trust: bool) -> Allowed:
    """Read the overrides passed with --resume, which must be NAMEABLE; raises ConfigError for one without a value."""
    named: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.lstrip("+").partition("=")
        if not equals:
            raise ConfigError(f"'{word}' is not an option; write {key}=value")
        try:
            named[key] = read_value(text, NAMEABLE[key])
        except ValueError as error:
            raise ConfigError(f"{key}=: {error}") from None
    return Allowed(named, trust)


def with_named(config: Mapping[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored config with the values named now."""
    changed = dict(config)
    for key, value in named.items():
        section, name = key.split(".")
        changed[section] = {**changed.get(section, {}), name: value}
    return changed


def reach_of(config: RunConfig) -> dict[str, str]:
    """Return everything that a config starts, contacts or loads besides the package itself and the games, by key."""
    policy = config.policy
    found: dict[str, str | None] = {}
    if policy.name == "server":
        found |= {"policy.serve": policy.serve, "policy.base_url": policy.base_url}
    if policy.loads_model_here:
        found["policy.model"] = policy.model
    if config.prompt.template.endswith(".toml"):
        found["prompt.template"] = config.prompt.template
    return {key: value for key, value in found.items() if value}


def check_allowed(path: Path, stamp: Mapping[str, Any], config: RunConfig, allowed: Allowed) -> None:
    """Raise RunFolderError if a stored run would start, contact or load anything that this user has not allowed.

    `config` is the stamp's with the values named now. A server on this machine that is sent no key needs no permission.
    """
    sends_key = bool(os.environ.get("OPENAI_API_KEY", "").strip())
    asked = {
        key: value
        for key, value in reach_of(config).items()
        if key not in allowed.named and (sends_key or key != "policy.base_url" or not _is_loopback(value))
    }
    if not asked or allowed.everything or is_known(stamp):
        return
    what = ", ".join(_consequence(key, value, sends_key=sends_key) for key, value in asked.items())
    again = [f"{key}={value}" for key, value in asked.items()]
    name_it = f"name it again (alfworld-sft {stamp['kind']} --resume {shlex.join([str(path), *again])}) or "
    raise RunFolderError(
        f"{path}: no record here says that you started this run, and it would {what}; to allow that,"
        f" {name_it if all(word.isprintable() for word in again) else ''}add --trust"
    )


def is_known(stamp: Mapping[str, Any]) -> bool:
    """Return whether this user started a stamp's run on this machine, or has allowed it since."""
    try:
        return _record_of(stamp).is_file()
    except (KeyError, TypeError, OSError):
        return False


def remember(stamp: Mapping[str, Any], config: RunConfig, path: Path) -> None:
    """Record a run that this user started or allowed, if resuming its config requires a record."""
    if not reach_of(config):
        return
    record = _record_of(stamp)
    try:
        record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        record.write_text(f"{path.absolute()}\n", encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        logger.warning(
            "%s cannot be written (%s): resuming this run will need --trust; %s names another folder",
            record.parent, os_reason(error), STATE_VARIABLE,
        )  # fmt: skip


def _record_of(stamp: Mapping[str, Any]) -> Path:
    said = {key: stamp[key] for key in ("kind", "started", "num_episodes", "config")}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    state = os.environ.get(STATE_VARIABLE) or platformdirs.user_state_dir("alfworld-sft", appauthor=False)
    return Path(state) / "runs" / digest


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _consequence(key: str, value: str, *, sends_key: bool) -> str:
    shown = f"{key}={value if value.isprintable() else ascii(value)}"
    match key:
        case "policy.serve":
            return f"start {shown}"
        case "policy.base_url":
            return f"send {'OPENAI_API_KEY and ' if sends_key else ''}its prompts to {shown}"
        case _:
            return f"load {shown}"
