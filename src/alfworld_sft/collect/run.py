"""How does a collection run, from its config to its dataset? `start_run` or `resume_run`, then `collect`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, get_args

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.dataset.build import Summary, build_dataset
from alfworld_sft.dataset.card import dataset_card
from alfworld_sft.dataset.rows import Rendering
from alfworld_sft.dataset.write import DATA_FILES
from alfworld_sft.errors import ConfigError
from alfworld_sft.files import sha256_of, whole_file
from alfworld_sft.games import GENERATE, check_split_is_trainable
from alfworld_sft.prompts.formats import write_reply
from alfworld_sft.prompts.tags import Tag
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.job import Chosen, Job, Play, games_of, play, resumable_on_failure
from alfworld_sft.runs.played_games import lost_games
from alfworld_sft.runs.results import results_errors
from alfworld_sft.runs.resume import resume_job
from alfworld_sft.runs.run_json import final_stamp
from alfworld_sft.runs.start import start_job
from alfworld_sft.runs.trust import Allowed
from alfworld_sft.types import Episode

CARD = "README.md"


CollectJob: TypeAlias = Job[CollectConfig]


def start_run(config: CollectConfig, output_dir: Path, *, name: str | None = None) -> CollectJob:
    """Check everything that can be checked, then make the run's folder; raises UserError before it exists."""
    check_split_is_trainable(config.games.split, allow=config.games.allow_eval_split)
    _check_template(config)
    notes = {"games": {"eval_split_allowed": config.games.allow_eval_split}}
    return start_job("collect", config, _choose, output_dir, name=name, notes=notes)


def _check_template(config: CollectConfig) -> None:
    """Raise ConfigError for options that have no meaning with the run's template."""
    name, template = config.prompt.template, load_template(config.prompt.template)
    reply = write_reply(template.reply_format, template.tags, dict.fromkeys(get_args(Tag), "…"))
    if config.policy.rationalize and "<think>" not in reply:
        raise ConfigError(
            f"policy.rationalize: the template {name} asks for no <think> that a model could write;"
            " choose one that does, such as prompt.template=default"
        )
    predictions = config.worldmodel.predictions
    if predictions != "grounded" and "<prediction>" not in reply:
        raise ConfigError(
            f"worldmodel.predictions={predictions}: the template {name} asks for no <prediction>; leave it out, or"
            " choose one that does, such as prompt.template=add_wm1"
        )
    if config.policy.guesses != "likeliest" and "<prediction>" not in reply:
        raise ConfigError(
            f"policy.guesses={config.policy.guesses}: the template {name} asks for no <prediction>; leave it out"
        )


def resume_run(path: Path, allowed: Allowed | None = None) -> CollectJob:
    """Reopen a stopped run, as `runs.resume_job` does."""
    return resume_job("collect", CollectConfig, _choose, path, allowed)


def collect(
    job: CollectJob, on_episode: Callable[[Episode | None], None] = lambda _: None, play: Play = play
) -> Summary:
    """Play what the run still owes, then write its dataset, card and final stamp."""
    with resumable_on_failure(job):
        play(job, on_episode)
    with results_errors(job.run):
        return _write_results(job)


def _write_results(job: CollectJob) -> Summary:
    """Write the dataset, then its card, then the stamp that marks the run as complete."""
    config, run = job.config, job.run

    rendering = Rendering(
        job.template, config.prompt.history_length, config.worldmodel.predictions, config.dataset.rows_per
    )
    summary = build_dataset(
        run,
        rendering,
        require_success=config.dataset.require_success,
        val_fraction=config.dataset.val_fraction,
        seed=config.seed,
    )

    stamp = {
        **final_stamp(run),
        "counts": summary.as_dict(),
        **_model_stamp(config, summary),
        "sha256": {name: sha256_of(run.path / name) for name in DATA_FILES},
    }

    with whole_file(run.path / CARD) as file:
        file.write(dataset_card(stamp).encode())
    run.write_stamp(stamp)
    return summary


def _model_stamp(config: CollectConfig, summary: Summary) -> dict[str, Any]:
    """Return the stamp's entries about a teacher and a language model (reasons, tokens and cost); empty without."""
    part: dict[str, Any] = {}
    if config.policy.teacher is not None:
        part["teacher"] = summary.lessons.as_dict()
    if config.policy.rationalize:
        part["reasons"] = summary.reasons.as_dict()
    if summary.usage.replies:
        part["usage"] = summary.usage.with_cost(config.policy.prices)
    return part


def _choose(config: CollectConfig) -> Chosen:
    section = config.games
    if section.lost_by is None:
        games = games_of(section, config.seed)
    else:
        games = lost_games(list(map(Path, section.lost_by)), section.split).shuffled(config.seed, section.task_types)
    total = games.total if config.num_episodes is None else config.num_episodes
    if total is None:
        raise ConfigError(f"games.source={GENERATE} has no end: say how many episodes to play with num_episodes=N")
    return Chosen(games, total)
