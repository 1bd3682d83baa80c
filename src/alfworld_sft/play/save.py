"""A played episode → a run's folder that everything else reads: its journal, its dataset, its stamp."""

from __future__ import annotations

from pathlib import Path

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.collect.run import collect, start_run
from alfworld_sft.config import build_config
from alfworld_sft.errors import UserError
from alfworld_sft.games import GameRef
from alfworld_sft.play.session import POLICY
from alfworld_sft.types import Episode


def save_episode(
    episode: Episode, ref: GameRef, source: str, output_dir: Path, *, template: str, allow_eval_split: bool = False
) -> Path:
    """Write a run of this one episode and return its folder; raises UserError for an evaluation game or no steps.

    A game in a file is named by that file, another one by its source. The dataset is made as by `collect`.
    """
    if not episode.steps:
        raise UserError("nothing has been played yet; play a step, then save")
    options = [
        f"games.source={ref.path or source}",
        f"games.split={ref.split}",
        f"env.max_steps={episode.max_steps}",
        f"prompt.template={template}",
        "num_episodes=1",
        "dataset.val_fraction=0",
        *(["games.allow_eval_split=true"] if allow_eval_split else []),
    ]
    job = start_run(build_config(CollectConfig, options), output_dir, name=_free_name(output_dir))
    with job.run:
        try:
            job.run.write_stamp({**job.run.stamp, "policy": POLICY})
            job.run.append(episode)
            collect(job)
        except BaseException:
            job.run.remove()
            raise
    return job.run.path


def _free_name(folder: Path) -> str:
    """Return a name for the run that no folder has."""
    number = 1
    while (folder / f"played_{number:03}").exists():
        number += 1
    return f"played_{number:03}"
