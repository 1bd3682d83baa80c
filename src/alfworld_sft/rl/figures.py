"""Which figures does a step report? How the games went, what was learned from, and how long it took."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from alfworld_sft.rl.rollout import Group
from alfworld_sft.train.play import play_figures


def game_figures(groups: Sequence[Group], rewards: Sequence[float], without_signal: int) -> dict[str, float]:
    """Return reward, success (overall and by task type), steps, invalid actions, and the share of games without signal.

    `rewards` has one number for each finished episode.
    """
    episodes = [episode for group in groups for episode in group.episodes]
    return {
        **({"reward": fmean(rewards)} if rewards else {}),
        **play_figures(episodes, prefix=""),
        "episodes": len(episodes),
        "failed": len(episodes) - len(rewards),
        "no_signal": without_signal / len(groups),
    }
