"""Folders of runs for the tests of the report: hand-made games played for real, and what training logs."""

import json
from dataclasses import replace
from pathlib import Path

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.collect.run import collect, start_run
from alfworld_sft.config import build_config
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.evaluate.run import evaluate, start_evaluation
from alfworld_sft.runs.journal import read_journal
from alfworld_sft.runs.records import to_line
from alfworld_sft.types import Episode
from tests.collecting import write_games


def play(folder: Path, name: str, *words: str, kind: str = "evaluate") -> Path:
    """Play hand-made games, which lie in `folder/games`, and return the run's folder."""
    games = folder / "games"
    if not games.exists():
        write_games(games, 6, "train")
        write_games(games, 6, "valid_seen")
    words = (f"games.source={games}", "prompt.template=add_wm1", *words)
    if kind == "evaluate":
        job = start_evaluation(build_config(EvaluateConfig, words), folder, name=name)
        with job.run:
            evaluate(job)
    else:
        collecting = start_run(build_config(CollectConfig, words), folder, name=name)
        with collecting.run:
            collect(collecting)
    return folder / name


def episodes(run: Path) -> list[Episode]:
    """Return the episodes of a run by index."""
    return list(read_journal(run / "episodes.jsonl").episodes())


def rewrite(run: Path, changed: list[Episode]) -> None:
    """Replace a run's journal."""
    (run / "episodes.jsonl").write_bytes(b"".join(map(to_line, changed)))


def say(episode: Episode, turn: int, text: str, **changes: object) -> Episode:
    """Return the episode with another reply at a turn."""
    steps = list(episode.steps)
    steps[turn] = replace(steps[turn], reply=replace(steps[turn].reply, text=text), **changes)  # type: ignore[arg-type]
    return replace(episode, steps=tuple(steps))


def write_training(folder: Path) -> Path:
    """Write what a training run leaves: figures of three steps, one of them with a validation."""
    folder.mkdir()
    lines = [
        {"step": 1, "epoch": 0.1, "loss": 2.0, "lr": 1e-4, "grad_norm": 1.5},
        {"step": 2, "epoch": 0.2, "loss": 1.0, "lr": 5e-5, "grad_norm": None},
        {"step": 2, "val/loss": 1.25, "eval/success_rate": 0.5},
        {"step": 3, "loss": 0.5, "lr": 0.0, "reward/mean": 0.75},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4, "lo')
    final = folder / "final"
    final.mkdir()
    (final / "alfworld_sft.json").write_text(json.dumps({"step": 3, "config": {"data": {"max_length": 1024}}}))
    return folder
