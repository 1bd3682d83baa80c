"""What collections and evaluations share: how a run starts and resumes, what its stamp says, how it is played.

A run's config decides all of it. `start_job` checks what can be checked, then makes the folder; `resume_job` opens one
whose games and template are still the same; `play` plays what is owed; `kept_for_later` says how to resume if that
fails.
"""

from __future__ import annotations

import asyncio
import hashlib
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from pydantic import ValidationError

from alfworld_sft import __version__
from alfworld_sft.config import idle_options
from alfworld_sft.counts import counted, noun_for
from alfworld_sft.errors import ConfigError, PolicyUnavailableError, RunFolderError, os_reason
from alfworld_sft.games import GENERATE, GameSource, GameStream, find_games
from alfworld_sft.policies.base import Policy, in_service
from alfworld_sft.policies.llm.network import allow_connections
from alfworld_sft.policies.make import make_policy
from alfworld_sft.prompts.template import Template, load_template
from alfworld_sft.runs.config import GamesToPlay, RunConfig, absolute_source
from alfworld_sft.runs.rollout import Protocol
from alfworld_sft.runs.runner import run_episodes
from alfworld_sft.runs.store import RunFolder, create_run
from alfworld_sft.runs.trust import Allowed, check_allowed, remember, with_named
from alfworld_sft.types import Episode

Config = TypeVar("Config", bound=RunConfig)
Kind = Literal["collect", "evaluate"]
PREFIXES: dict[Kind, str] = {"collect": "sft_data", "evaluate": "eval"}
"""Prefixes of the names of run folders, by command."""


class Chosen(NamedTuple):
    """The games that are played, and in how many episodes."""

    games: GameSource
    total: int


@dataclass(frozen=True, slots=True)
class Job(Generic[Config]):
    """A run with all that it needs."""

    run: RunFolder
    config: Config
    games: GameSource
    template: Template
    policy: Policy
    total: int


Play: TypeAlias = Callable[[Job[Any], Callable[[Episode | None], None]], None]
"""Plays the episodes that a run still owes, into its journal, and reports each one: `play`, or the same elsewhere."""


def start_job(
    kind: Kind,
    config: Config,
    choose: Callable[[Config], Chosen],
    output_dir: Path,
    *,
    name: str | None = None,
    notes: dict[str, dict[str, Any]] | None = None,
) -> Job[Config]:
    """Check everything that can be checked, then make the run's folder; raises UserError before it exists.

    `notes` go into the stamp, each into the part of its name.
    """
    config = _with_absolute_paths(config)
    template = load_template(config.prompt.template)
    policy = make_policy(config.policy)
    chosen = choose(config)
    stamp = _stamp(kind, config, chosen, template, policy)
    for part, values in (notes or {}).items():
        stamp[part] |= values
    run = create_run(output_dir, stamp, name=name, prefix=PREFIXES[kind])
    remember(stamp, config, run.path)
    return Job(run, config, chosen.games, template, policy, chosen.total)


def _with_absolute_paths(config: Config) -> Config:
    """Return the config with paths that mean the same when the run is resumed from another folder."""
    games, policy, prompt = config.games, config.policy, config.prompt
    updates: dict[str, Any] = {"games": games.model_copy(update={"source": absolute_source(games.source)})}
    loaded_here = policy.name == "local" or policy.serve is not None  # elsewhere it is a name of the server's
    if policy.model and loaded_here and Path(policy.model).is_dir():
        updates["policy"] = policy.model_copy(update={"model": str(Path(policy.model).absolute())})
    if prompt.template.endswith(".toml"):
        updates["prompt"] = prompt.model_copy(update={"template": str(Path(prompt.template).absolute())})
    return config.model_copy(update=updates)


def resume_job(
    kind: Kind, model: type[Config], choose: Callable[[Config], Chosen], path: Path, allowed: Allowed | None = None
) -> Job[Config]:
    """Open a run that was stopped; its own config counts, but for what is named now.

    Raises RunFolderError where it is another command's, where its games or template changed, or where it would start,
    contact or load what this user has not allowed.
    """
    allowed = allowed or Allowed()
    run = RunFolder(path)
    try:
        if run.kind not in PREFIXES:
            raise RunFolderError(f"{path}: its run.json names no command whose run it is")
        if run.kind != kind:
            raise RunFolderError(f"{path} is a run of {run.kind}; resume with: alfworld-sft {run.kind} --resume {path}")
        config = _read_config(run, model, allowed)
        if allowed.named:
            named = {key: text or "null" for key, text in allowed.named.items()}
            if idle := idle_options(config, named):
                raise ConfigError("\n".join(idle))
            config = _with_absolute_paths(config)
        total = _read_number(run, "num_episodes")
        check_allowed(path, run.stamp, config, allowed)
        games = choose(config).games
        template = load_template(config.prompt.template)
        for what, now, then in (
            ("games", games.sha256, _read_text(run, "games", "sha256")),
            ("template", _template_sha256(template), _read_text(run, "protocol", "template_sha256")),
        ):
            if now != then:
                raise RunFolderError(f"{path}: its {what} changed since it was started; start a new run")
        policy = make_policy(config.policy)
        if allowed.named and policy.name != (player := _read_text(run, "policy")):
            raise RunFolderError(f"{path} was played by {player}, not {policy.name}; start a new run")
        _read_text(run, "started")  # it names the record of the run
        if allowed.named:
            run.write_stamp({**run.stamp, "config": config.model_dump()})
        remember(run.stamp, config, path)
        return Job(run, config, games, template, policy, total)
    except BaseException:
        run.close()
        raise


def _read_config(run: RunFolder, model: type[Config], allowed: Allowed) -> Config:
    """Read a stamp's config with the values that are named now; raises RunFolderError where it is none."""
    try:
        return model.model_validate(with_named(run.stamp["config"], allowed.named))
    except (KeyError, TypeError, ValueError) as error:
        raise _not_written_here(run, error) from error


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
    """Return in one line what is wrong with a stamp."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
    return f"{type(error).__name__}: {error}"


def play(job: Job[Config], on_episode: Callable[[Episode | None], None]) -> None:
    """Play what the run still owes, in this process; raises PolicyUnavailableError if the policy is unavailable."""
    config = job.config
    if config.policy.name == "server":
        allow_connections(min(config.runner.concurrency, job.total))

    def note_sampling_and_tell(episode: Episode | None) -> None:
        keep_sampling(job.run, job.policy.sampling)
        on_episode(episode)

    with in_service(job.policy):
        asyncio.run(
            run_episodes(
                job.run,
                job.total,
                job.games,
                job.policy,
                job.template,
                protocol_of(config),
                seed=config.seed,
                concurrency=config.runner.concurrency,
                on_episode=note_sampling_and_tell,
            )
        )


def keep_sampling(run: RunFolder, sampling: Mapping[str, object] | None) -> None:
    """Write into the stamp how the model is really sampled: a server may turn out not to take all parameters.

    What was not sent for a part of the run counts as not sent. Raises RunFolderError where it cannot be written.
    """
    if sampling is None:
        return
    stamped = run.stamp.get("sampling") or {}
    before, now = _listed(stamped.get("not_sent")), _listed(sampling.get("not_sent"))
    omitted = sorted({*before, *now})
    if omitted == before:
        return
    really = {name: value for name, value in stamped.items() if name not in omitted} | {"not_sent": omitted}
    try:
        run.write_stamp({**run.stamp, "sampling": really})
    except OSError as error:
        raise RunFolderError(
            f"{run.path}: {os_reason(error)}; fix that, then: alfworld-sft {run.kind} --resume {run.path}"
        ) from None


def _listed(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, (list, tuple)) else []


@contextmanager
def kept_for_later(job: Job[Any]) -> Iterator[None]:
    """Delete the folder of a new run that fails before it has played anything, whatever the failure.

    Otherwise the folder stays, and a PolicyUnavailableError says how to resume it. It also stays after Ctrl-C and
    RunFolderError, whose messages say so themselves.
    """
    try:
        yield
    except (KeyboardInterrupt, RunFolderError):
        raise
    except BaseException as error:
        if job.run.is_new and not job.run.played:
            job.run.remove()
            raise
        if isinstance(error, PolicyUnavailableError):
            played = f"{job.run.played} of {counted(job.total, 'episode')} {noun_for(job.total, 'is', 'are')} played"
            raise PolicyUnavailableError(
                f"{error}; {played}, resume with: alfworld-sft {job.run.kind} --resume {job.run.path}"
            ) from None
        raise


def protocol_of(config: RunConfig) -> Protocol:
    """Return how the config's games are played."""
    return Protocol(config.env.max_steps, config.prompt.form, config.prompt.history_length, config.env.max_repeats)


def finished_stamp(run: RunFolder) -> dict[str, Any]:
    """Return the run's stamp with how it ended: complete, or incomplete with the episodes that failed."""
    owed = run.failed
    return {
        **run.stamp,
        "status": "incomplete" if owed else "complete",
        "finished": _now(),
        "failed": {str(index): reason for index, reason in owed.items()},
    }


def games_of(section: GamesToPlay, seed: int) -> GameSource:
    """Return the games that a config names, in the seed's order; raises GamesNotFoundError where there are none."""
    if section.source == GENERATE:
        return GameStream(seed, section.split, section.task_types, str(section.difficulty))
    return find_games(section.source, section.split).shuffled(seed, section.task_types)


def _stamp(kind: Kind, config: RunConfig, chosen: Chosen, template: Template, policy: Policy) -> dict[str, Any]:
    """Return the protocol stamp: which games are played, how, and by which policy."""
    games, total = chosen
    return {
        "kind": kind,
        "status": "running",
        "started": _now(),
        "versions": {
            "alfworld-sft": __version__,
            "python": platform.python_version(),
            "pyarrow": version("pyarrow"),
        },
        "config": config.model_dump(),
        "num_episodes": total,
        "policy": policy.name,
        "sampling": policy.sampling,
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
            "template_sha256": _template_sha256(template),
            "seed": config.seed,
        },
    }


def _template_sha256(template: Template) -> str:
    return hashlib.sha256("\x1f".join(template.texts).encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
