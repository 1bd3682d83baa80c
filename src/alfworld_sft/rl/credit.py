"""What is learned from a step's episodes? Which turns are trained, and with which advantage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from alfworld_sft.rl.advantages import AdvantageOptions, ScoredEpisode, advantages
from alfworld_sft.rl.config import RLConfig, RLSection
from alfworld_sft.rl.rollout import Group, distances_of
from alfworld_sft.rl.sequences import PlayedSample, played_samples
from alfworld_sft.rl.weights import LossType, token_weights
from alfworld_sft.types import Episode

ESTIMATOR = (
    "advantage", "scale_rewards", "invalid_penalty", "gamma", "step_weight", "anchors", "lam", "progress_reward",
    "cut_off",
)  # fmt: skip
"""The options of `rl` that are the estimator's."""


def numbers_of(rl: RLSection) -> list[str]:
    """Return the options of the estimator that have an effect, as the config's own needs say."""
    return [name for name in ESTIMATOR if all(need.met(rl) for need in rl.NEEDS if name in need.keys)]


@dataclass(frozen=True, slots=True)
class Lesson:
    """An episode to learn from: for each turn its advantage, and whether it is trained."""

    episode: Episode
    advantages: tuple[float, ...]
    trained: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Credit:
    """What a step's groups teach. `rewards` has one number for each finished episode.

    An episode that ended in an error (a server's failure, a full context) teaches nothing, and is compared with none.
    """

    rewards: list[float]
    lessons: list[Lesson]
    without_signal: int

    def samples(self, loss_type: LossType, max_tokens: int) -> list[PlayedSample]:
        """Return the sequences to train on, each token weighted so that Σ weight·loss is the loss of the step."""
        by_episode = [list(played_samples(each.episode, each.advantages, each.trained)) for each in self.lessons]
        lengths = [sum(int(sample.weight.sum()) for sample in samples) for samples in by_episode]
        weights = token_weights(lengths, loss_type, max_tokens, len(self.rewards))
        return [
            replace(sample, weight=sample.weight * np.float32(weight))
            for samples, weight in zip(by_episode, weights, strict=True)
            for sample in samples
        ]


def credit_of(groups: Sequence[Group], config: RLConfig) -> Credit:
    """Return what is learned from the groups by the method and the estimator that are configured."""
    return _best_of(groups) if config.rl.method == "best_of" else _policy_gradient(groups, config)


def options_of(config: RLConfig) -> AdvantageOptions:
    """Return the estimator's options; a game that is lost for good is as far from its goal as an episode is long."""
    own = {name: getattr(config.rl, name) for name in ESTIMATOR}
    own["gamma"] = own["gamma"] or (1.0 if config.rl.advantage == "progress" else 0.95)
    return AdvantageOptions(**own, lost_distance=config.env.max_steps)


def _best_of(groups: Sequence[Group]) -> Credit:
    """Return the won episodes; as in fine-tuning, turns whose reply the game could not execute are context only."""
    lessons = [
        Lesson(episode, (1.0,) * len(episode.steps), tuple(step.problem is None for step in episode.steps))
        for episode in _episodes(groups)
        if episode.success
    ]
    rewards = [float(episode.success) for episode in _episodes(groups)]
    return Credit(rewards, lessons, sum(not group.won for group in groups))


def _policy_gradient(groups: Sequence[Group], config: RLConfig) -> Credit:
    rl, options = config.rl, options_of(config)
    scored = [_scored(group, episode, rl.advantage) for group in groups for episode in group.finished]
    found = advantages(scored, options)
    lessons = [
        Lesson(episode, tuple(turns.tolist()), (True,) * len(episode.steps))
        for episode, turns, kept in zip(_episodes(groups), found.turns, found.kept, strict=True)
        if kept
    ]
    totals = [sum(each.rewards) - rl.invalid_penalty * sum(each.invalid) for each in scored]
    return Credit(totals, lessons, len(found.silent) + sum(not group.finished for group in groups))


def _episodes(groups: Sequence[Group]) -> Iterator[Episode]:
    """Yield the finished episodes of all groups."""
    return (episode for group in groups for episode in group.finished)


def _scored(group: Group, episode: Episode, advantage: str) -> ScoredEpisode:
    return ScoredEpisode(
        game=group.number,
        rewards=tuple(step.reward for step in episode.steps),
        invalid=tuple(step.problem is not None for step in episode.steps),
        states=tuple(step.observation for step in episode.steps) if advantage == "gigpo" else (),
        distances=tuple(distances_of(group.game, episode)) if advantage == "progress" else (),
    )
