"""A collection run, from its config to its dataset: `start_run` or `resume_run`, then `collect`."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from alfworld_sft import __version__
from alfworld_sft.config import CollectConfig, absolute_source
from alfworld_sft.dataset.build import Summary, build_dataset
from alfworld_sft.dataset.card import dataset_card
from alfworld_sft.dataset.rows import Rendering
from alfworld_sft.dataset.write import DATA_FILES
from alfworld_sft.errors import GamesNotFoundError, RunFolderError
from alfworld_sft.files import sha256_of, whole_file
from alfworld_sft.games import GameRef, Games, check_split_is_trainable, find_games
from alfworld_sft.policies import make_policy
from alfworld_sft.policies.base import Policy
from alfworld_sft.prompts.template import Template, load_template
from alfworld_sft.rollout import Protocol
from alfworld_sft.runner import run_episodes
from alfworld_sft.store import RunFolder, create_run
from alfworld_sft.types import Episode

logger = logging.getLogger(__name__)

CARD = "README.md"


@dataclass(frozen=True, slots=True)
class Job:
    """A run with all that it needs."""

    run: RunFolder
    config: CollectConfig
    games: Games
    refs: tuple[GameRef, ...]
    template: Template
    policy: Policy
    total: int


def start_run(config: CollectConfig, output_dir: Path, *, name: str | None = None) -> Job:
    """Check everything that can be checked, then make the run's folder; raises UserError before it exists."""
    check_split_is_trainable(config.games.split, allow=config.games.allow_eval_split)
    source = absolute_source(config.games.source)
    config = config.model_copy(update={"games": config.games.model_copy(update={"source": source})})
    template = load_template(config.prompt.template)
    policy = make_policy(config.policy)
    games, refs = _games(config)
    total = config.num_episodes or len(refs)
    stamp = _stamp(config, games, refs, template, policy, total)
    return Job(create_run(output_dir, stamp, name=name), config, games, refs, template, policy, total)


def resume_run(path: Path) -> Job:
    """Open a run that was stopped; its own config counts. Raises RunFolderError where its games or template changed."""
    run = RunFolder(path)
    try:
        config = CollectConfig.model_validate(run.stamp["config"])
        total = int(run.stamp["num_episodes"])
        games, refs = _games(config)
        template = load_template(config.prompt.template)
        for what, now, then in (
            ("games", _games_sha256(refs), run.stamp["games"]["sha256"]),
            ("template", _template_sha256(template), run.stamp["protocol"]["template_sha256"]),
        ):
            if now != then:
                raise RunFolderError(f"{path}: its {what} changed since it was started; start a new run")
    except (KeyError, TypeError, ValueError) as error:
        run.close()
        raise RunFolderError(f"{path}: its run.json is not one that collect wrote ({error})") from None
    except BaseException:
        run.close()
        raise
    return Job(run, config, games, refs, template, make_policy(config.policy), total)


def collect(job: Job, on_episode: Callable[[Episode | None], None] = lambda _: None) -> Summary:
    """Play what the run still owes, then write its dataset, card and final stamp."""
    config, run = job.config, job.run
    asyncio.run(
        run_episodes(
            run,
            job.total,
            job.refs,
            job.policy,
            job.template,
            Protocol(config.env.max_steps, config.prompt.form, config.prompt.history_length),
            seed=config.seed,
            concurrency=config.runner.concurrency,
            on_episode=on_episode,
        )
    )
    try:
        return _write(job)
    except OSError as error:
        raise RunFolderError(
            f"{run.path}: {error.strerror}; all episodes are safe; mend that, then:"
            f" alfworld-sft collect --resume {run.path}"
        ) from None


def _write(job: Job) -> Summary:
    """Write the dataset, then its card, then the stamp that calls the run complete."""
    config, run = job.config, job.run
    rendering = Rendering(job.template, config.prompt.history_length, config.worldmodel.predictions)
    summary = build_dataset(
        run,
        rendering,
        require_success=config.dataset.require_success,
        val_fraction=config.dataset.val_fraction,
        seed=config.seed,
    )
    owed = run.failed
    stamp = {
        **run.stamp,
        "status": "incomplete" if owed else "complete",
        "finished": _now(),
        "counts": summary.as_dict(),
        "failed": {str(index): reason for index, reason in owed.items()},
        "sha256": {name: sha256_of(run.path / name) for name in DATA_FILES},
    }
    with whole_file(run.path / CARD) as file:
        file.write(dataset_card(stamp).encode())
    run.write_stamp(stamp)
    return summary


def _games(config: CollectConfig) -> tuple[Games, tuple[GameRef, ...]]:
    games = find_games(config.games.source, config.games.split)
    wanted = config.games.task_types
    refs = tuple(ref for ref in games.refs if wanted is None or _task_type(ref) in wanted)
    if not refs:
        raise GamesNotFoundError(f"no games of the task types {', '.join(wanted or [])} among {games.description}")
    return games, refs


def _task_type(ref: GameRef) -> str:
    return ref.task_type or ref.load().task_type


def _stamp(
    config: CollectConfig, games: Games, refs: tuple[GameRef, ...], template: Template, policy: Policy, total: int
) -> dict[str, Any]:
    """Return the protocol stamp: all that somebody needs to say which games were played, how and by whom."""
    return {
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
        "sampling": None,  # a language model's temperature and so on; no policy of this version samples
        "games": {
            "description": games.description,
            "split": games.split,
            "count": len(refs),
            "sha256": _games_sha256(refs),
            "eval_split_allowed": config.games.allow_eval_split,
        },
        "protocol": {
            "split": games.split,
            "max_steps": config.env.max_steps,
            "form": config.prompt.form,
            "history_length": config.prompt.history_length,
            "template": template.name,
            "template_sha256": _template_sha256(template),
            "seed": config.seed,
        },
    }


def _games_sha256(refs: tuple[GameRef, ...]) -> str:
    return hashlib.sha256("".join(f"{ref.id}\t{ref.sha256}\n" for ref in refs).encode()).hexdigest()


def _template_sha256(template: Template) -> str:
    layouts = (template.single_first, template.single_later, template.multi_first, template.multi_later)
    texts = [*template.tags, str(template.lists_admissible), *(layout.template for layout in layouts)]
    return hashlib.sha256("\x1f".join(texts).encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
