"""A small agent and short runs of `rl`; imports torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.collect.run import collect, start_run
from alfworld_sft.config import build_config
from alfworld_sft.rl.config import build_rl_config
from alfworld_sft.rl.run import reinforce
from alfworld_sft.train.learner import TrainingResult
from alfworld_sft.train.tiny import TinyOptions, make_tiny_model, texts_of_files
from alfworld_sft.types import Episode, Reply
from tests.episodes import episode, step
from tests.train.helpers_loop import metrics, run

UNTIMED = {"tokens_per_s", "seconds_playing", "seconds_training"}


def write_agent(games: Path, folder: Path, *more: str) -> Path:
    """Collect, make a tiny model and fine-tune it; return the final model."""
    overrides = [f"games.source={games}", "prompt.template=compact", "num_episodes=12", "dataset.val_fraction=0"]
    job = start_run(build_config(CollectConfig, overrides), folder, name="data")
    with job.run:
        collect(job)
    data = job.run.path
    options = TinyOptions(model_type="qwen3", width=64, layers=2, head_dim=32, chat="short")
    make_tiny_model(folder / "random", texts_of_files([data]), options)
    return run(
        [
            f"data.train_files={data}",
            f"model.path={folder / 'random'}",
            f"trainer.default_local_dir={folder / 'sft'}",
            "trainer.device=cpu",
            "trainer.logger=[]",
            "data.multiturn.enable=true",
            "data.train_batch_size=16",
            "model.lora_rank=0",
            "optim.name=muon",
            "optim.lr=1e-2",
            "trainer.total_training_steps=40",
            *more,
        ]
    ).final


def options(agent: Path, games: Path, out: Path, *more: str) -> list[str]:
    """Return the overrides of a short quiet run on the CPU; later ones win."""
    return [
        f"model.path={agent}",
        f"games.source={games}",
        "prompt.template=compact",
        f"trainer.default_local_dir={out}",
        "trainer.device=cpu",
        "trainer.logger=[]",
        "trainer.total_training_steps=3",
        "trainer.save_freq=1",
        "env.max_steps=8",
        "policy.max_tokens=16",
        "rl.games_per_step=2",
        "rl.num_generations=4",
        "rl.min_valid_share=0",
        "model.lora_rank=4",
        "optim.lr=1e-3",
        *more,
    ]


def learn(overrides: Sequence[str]) -> TrainingResult:
    """Run `rl` in this process, on one thread."""
    torch.set_num_threads(1)
    return reinforce(build_rl_config(overrides))


def learn_as(environ: Mapping[str, str], overrides: Sequence[str]) -> None:
    """Run `rl` as one of several processes."""
    os.environ.update(environ)
    learn(overrides)


def played(*, turns: int, success: bool = True, invalid: int = 0) -> Episode:
    """Return an episode whose turn n said n tokens; the first turns are invalid."""
    steps = [
        replace(
            step(n, won=success and n == turns, problem="no action" if n <= invalid else None),
            reply=Reply("x", prompt_token_ids=(n, 0), token_ids=(1,) * n, logprobs=(-0.5,) * n),
        )
        for n in range(1, turns + 1)
    ]
    return episode(success=success, steps=tuple(steps))


def steps(out: Path) -> list[dict[str, float]]:
    """Return the figures of a run's steps, without the times."""
    return [
        {key: value for key, value in line.items() if key not in UNTIMED} for line in metrics(out) if "loss" in line
    ]
