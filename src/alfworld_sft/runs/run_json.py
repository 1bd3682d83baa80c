"""What does a run's `run.json` contain? The protocol stamp at the start, and how the run ended."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from alfworld_sft import __version__
from alfworld_sft.errors import RunFolderError, os_reason
from alfworld_sft.games import GameSource
from alfworld_sft.policies.base import Policy
from alfworld_sft.policies.llm.sampling import stop_of
from alfworld_sft.prompts.template import Template
from alfworld_sft.runs.config import RunConfig, RunKind
from alfworld_sft.runs.store import RunFolder, resume_command
from alfworld_sft.runs.weights import weights_fingerprint

CONSTRAIN = "constrain"
"""The key of the protocol that says what a model's replies were restricted to; free runs have none, as older ones."""


def keep_sampling(run: RunFolder, sampling: Mapping[str, object] | None) -> None:
    """Record in the stamp how the model is really sampled: a server may turn out to reject some parameters.

    A parameter not sent for part of the run counts as not sent. Raises RunFolderError if it cannot be written.
    """
    if sampling is None:
        return
    stamped = run.stamp.get("sampling") or {}
    before, now = _names_in(stamped.get("not_sent")), _names_in(sampling.get("not_sent"))
    omitted = sorted({*before, *now})
    if omitted == before:
        return
    really = {name: value for name, value in stamped.items() if name not in omitted} | {"not_sent": omitted}
    try:
        run.write_stamp({**run.stamp, "sampling": really})
    except OSError as error:
        raise RunFolderError(
            f"{run.path}: {os_reason(error)}; fix that, then: {resume_command(run.kind, run.path)}"
        ) from None


def _names_in(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, (list, tuple)) else []


def final_stamp(run: RunFolder) -> dict[str, Any]:
    """Return the run's stamp with its ending: complete, or incomplete with the failed episodes."""
    owed = run.failed
    return {
        **run.stamp,
        "status": "incomplete" if owed else "complete",
        "finished": now_in_utc(),
        "failed": {str(index): reason for index, reason in owed.items()},
    }


def stamp_of(
    kind: RunKind, config: RunConfig, games: GameSource, total: int, template: Template, policy: Policy
) -> dict[str, Any]:
    """Return the protocol stamp: which games are played, how, and by which policy."""
    return {
        "kind": kind,
        "status": "running",
        "started": now_in_utc(),
        "versions": versions(),
        "config": config.model_dump(),
        "num_episodes": total,
        "policy": policy.name,
        **({"weights": weights} if (weights := weights_fingerprint(config.policy)) else {}),
        "sampling": None if policy.sampling is None else {**policy.sampling, "stop": stop_of(template)},
        "games": {
            "description": games.description,
            "split": games.split,
            "count": total if games.total is None else games.total,
            "sha256": games.sha256,
            "skipped": dict(games.skipped),
        },
        "protocol": {
            "split": games.split,
            "max_steps": config.env.max_steps,
            "max_repeats": config.env.max_repeats,
            "form": config.prompt.form,
            "history_length": config.prompt.history_length,
            "template": template.name,
            "template_sha256": hash_template(template),
            "seed": config.seed,
            **_constraint(config, template),
        },
    }


def _constraint(config: RunConfig, template: Template) -> dict[str, str]:
    """Return what the replies are restricted to: knowledge that a prompt does not show is named."""
    if config.policy.constrain == "none":
        return {}
    hidden = "" if template.lists_admissible else ", by commands that the prompt does not list"
    return {CONSTRAIN: f"{config.policy.constrain}{hidden}"}


def hash_template(template: Template) -> str:
    """Return the sha256 of a template's complete content; a run can only be resumed with the same template."""
    return hashlib.sha256("\x1f".join(template.texts).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Return the versions that a stamp records."""
    return {"alfworld-sft": __version__, "python": platform.python_version(), "pyarrow": version("pyarrow")}


def now_in_utc() -> str:
    """Return the time, to the second, as stamps have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
