"""How is a stopped run resumed? Its `run.json` defines how it is played; incompatible changes are refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alfworld_sft import __version__
from alfworld_sft.config import idle_options
from alfworld_sft.errors import ConfigError, RunFolderError
from alfworld_sft.games import GameSource
from alfworld_sft.policies.make import make_policy
from alfworld_sft.prompts.template import Template, load_template
from alfworld_sft.runs.config import PREFIXES, RunConfig, RunKind
from alfworld_sft.runs.job import Chosen, ConfigT, Job
from alfworld_sft.runs.run_json import hash_template
from alfworld_sft.runs.start import with_absolute_paths
from alfworld_sft.runs.store import IMPORT, RunFolder, make_again, resume_command
from alfworld_sft.runs.trust import Allowed, check_allowed, remember, with_named
from alfworld_sft.runs.weights import weights_fingerprint

logger = logging.getLogger(__name__)


def resume_job(
    kind: RunKind, model: type[ConfigT], choose: Callable[[ConfigT], Chosen], path: Path, allowed: Allowed | None = None
) -> Job[ConfigT]:
    """Open a stopped run with its own config and any values overridden now.

    Raises RunFolderError if another command created it, if its games or template changed, or if it would start, contact
    or load anything that this user has not allowed.
    """
    allowed = allowed or Allowed()
    run = RunFolder(path)
    try:
        _refuse_other_commands(run, kind)
        config = _resolve_config(run, model, allowed)
        total = _read_number(run, "num_episodes")
        check_allowed(path, run.stamp, config, allowed)
        games = choose(config).games
        template = load_template(config.prompt.template)
        _refuse_changes(run, games, template)
        _refuse_other_weights(run, config)
        policy = make_policy(config.policy)
        if allowed.named and policy.name != (player := _read_text(run, "policy")):
            raise RunFolderError(f"{path} was played by {player}, not {policy.name}; start a new run")
        _read_text(run, "started")  # the record of the run is named by it
        if allowed.named:
            run.write_stamp({**run.stamp, "config": config.model_dump(), "status": "running"})
        remember(run.stamp, config, path)
        if run.played < total:
            _note_other_version(run)
        return Job(run, config, games, template, policy, total)
    except BaseException:
        run.close()
        raise


def _refuse_other_commands(run: RunFolder, kind: RunKind) -> None:
    if run.kind == IMPORT:
        raise RunFolderError(f"{run.path} was imported, which nothing resumes; {make_again(run.stamp, run.path)}")
    if run.kind not in PREFIXES:
        raise RunFolderError(f"{run.path}: its run.json names no command whose run it is")
    if run.kind != kind:
        raise RunFolderError(f"{run.path} is a run of {run.kind}; resume with: {resume_command(run.kind, run.path)}")


def _refuse_changes(run: RunFolder, games: GameSource, template: Template) -> None:
    for what, now, then in (
        ("games", games.sha256, _read_text(run, "games", "sha256")),
        ("template", hash_template(template), _read_text(run, "protocol", "template_sha256")),
    ):
        if now != then:
            raise RunFolderError(f"{run.path}: its {what} changed since it was started; start a new run")


def _note_other_version(run: RunFolder) -> None:
    """Warn if another version of this package resumes a run, and record it in the stamp's `resumed_with`."""
    earlier = str(run.stamp.get("resumed_with") or _read_text(run, "versions", "alfworld-sft"))
    last = earlier.rpartition(", ")[2]
    if last != __version__:
        logger.warning(
            "%s was played by alfworld-sft %s so far; %s may play the rest differently: start a new run to have one"
            " version",
            run.path, last, __version__,
        )  # fmt: skip
        more = f"{earlier}, {__version__}" if "resumed_with" in run.stamp else __version__
        run.write_stamp({**run.stamp, "resumed_with": more})


def _refuse_other_weights(run: RunFolder, config: RunConfig) -> None:
    """Raise RunFolderError if the model's folder holds other weights now: it was trained again, or is another."""
    then = run.stamp.get("weights")  # older runs have none
    if then is not None and weights_fingerprint(config.policy) not in (then, None):
        raise RunFolderError(
            f"{run.path}: policy.model={config.policy.model} holds other weights now than those that played it; start a"
            " new run"
        )


def _resolve_config(run: RunFolder, model: type[ConfigT], allowed: Allowed) -> ConfigT:
    """Return the run's config with the values overridden now; raises ConfigError for one without effect."""
    config = _read_config(run, model, allowed)
    if not allowed.named:
        return config
    named = {key: "null" if value is None else str(value) for key, value in allowed.named.items()}
    if idle := idle_options(config, named):
        raise ConfigError("\n".join(idle))
    return with_absolute_paths(config)


def _read_config(run: RunFolder, model: type[ConfigT], allowed: Allowed) -> ConfigT:
    """Read a stamp's config with the values overridden now.

    Raises RunFolderError if it is invalid, and ConfigError if only those values make it so.
    """
    try:
        return model.model_validate(with_named(run.stamp["config"], allowed.named))
    except (KeyError, TypeError, ValueError) as error:
        if allowed.named and _is_valid(model, run.stamp.get("config")):
            raise ConfigError(f"--resume {run.path} {' '.join(allowed.named)}: {_reason(error)}") from None
        raise _not_written_here(run, error) from error


def _is_valid(model: type[ConfigT], config: object) -> bool:
    try:
        model.model_validate(config)
    except ValidationError:
        return False
    return True


def _read_number(run: RunFolder, key: str) -> int:
    try:
        return int(run.stamp[key])
    except (KeyError, TypeError, ValueError) as error:
        raise _not_written_here(run, error) from error


def _read_text(run: RunFolder, *keys: str) -> str:
    value: Any = run.stamp
    try:
        for key in keys:
            value = value[key]
    except (KeyError, TypeError) as error:
        raise _not_written_here(run, error) from error
    return str(value)


def _not_written_here(run: RunFolder, error: Exception) -> RunFolderError:
    return RunFolderError(f"{run.path}: its run.json is not one that {run.kind} wrote ({_reason(error)})")


def _reason(error: Exception) -> str:
    """Return a one-line description of what is wrong with a stamp."""
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors()
        )
    return f"{type(error).__name__}: {error}"
