"""How much better than expected was each turn? Rewards and states of episodes → one advantage per turn.

All estimators compare the episodes of one game with one another, so they need no model of the value. The unit is the
turn: all of its sampled tokens get its advantage. This module is pure: no model, no tokens, no files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Estimator = Literal["grpo", "rloo", "gigpo", "progress"]
Scale = Literal["group", "none"]
"""What a group's rewards are divided by: their deviation, or nothing."""
Anchors = Literal["game", "batch"]
"""Among which episodes a state counts as met again."""
CutOff = Literal["zero", "kept"]
"""The advantage of an episode that the step limit cut off."""

Values = NDArray[np.float64]

GRPO_EPSILON = 1e-4
"""Added to the standard deviation by TRL's GRPOTrainer."""
GIGPO_EPSILON = 1e-6
"""Added to the standard deviation by verl-agent and Trinity."""
EQUAL = 1e-9
"""Values that differ by no more than this are equal; sums of rewards may differ in their last bits."""


@dataclass(frozen=True, slots=True)
class ScoredEpisode:
    """An episode as the estimators see it: episodes of equal `game` form a group.

    `rewards` and `invalid` (the reply could not be played) have one entry per turn; `states` has what each turn acted
    on, for gigpo; `distances` has the distance to the goal before each turn and after the last, None where the game can
    no longer be won, for progress. An estimator that needs what was left out raises ValueError.
    """

    game: Hashable
    rewards: tuple[float, ...]
    invalid: tuple[bool, ...] = ()
    states: tuple[Hashable, ...] = ()
    distances: tuple[int | None, ...] = ()

    def __post_init__(self) -> None:
        turns = len(self.rewards)
        for name, length in (("invalid", turns), ("states", turns), ("distances", turns + 1)):
            if len(getattr(self, name)) not in (0, length):
                raise ValueError(f"{len(getattr(self, name))} {name} of an episode of {turns} turns, not {length}")


@dataclass(frozen=True, slots=True)
class AdvantageOptions:
    """Which estimator, and its numbers; `advantages` explains them."""

    advantage: Estimator = "grpo"
    scale_rewards: Scale = "group"
    invalid_penalty: float = 0.0
    gamma: float = 1.0
    step_weight: float = 1.0
    anchors: Anchors = "game"
    lam: float = 1.0
    progress_reward: float = 0.1
    lost_distance: int = 50
    cut_off: CutOff = "zero"


@dataclass(frozen=True, slots=True)
class Advantages:
    """The advantages of each episode's turns, and which groups have none.

    `silent` names the games whose episodes all have advantage 0 in every turn: nothing can be learned from them, and
    `kept` is False for their episodes.
    """

    turns: tuple[Values, ...]  # (turns,) of each episode
    kept: tuple[bool, ...]
    games: int
    silent: tuple[Hashable, ...]


def advantages(episodes: Sequence[ScoredEpisode], options: AdvantageOptions) -> Advantages:
    """Return the advantages of every turn.

    Each turn whose reply could not be played costs `invalid_penalty` of its reward. Then, within each game:

    - grpo: R - mean R for all turns of an episode, R = Σ rewards; with `scale_rewards="group"` divided by the standard
      deviation (with n - 1) + 1e-4 (Shao et al. 2024, arXiv 2402.03300, as in TRL; "none": Liu et al. 2025).
    - rloo: R - the mean R of the group's other episodes (Ahmadian et al. 2024, arXiv 2402.14740).
    - gigpo: A_E + step_weight·A_S (`_gigpo`). progress: returns of rewards shaped by the distance (`_progress`).

    A single episode of a game has nothing to be compared with: its R is worth 0. Its turns can still be compared with
    one another, by gigpo in equal states and by progress.
    """
    _require(episodes, options)
    rewards = [_penalized(episode, options.invalid_penalty) for episode in episodes]
    games = _positions(episode.game for episode in episodes)
    if options.advantage == "gigpo":
        turns = _gigpo(episodes, rewards, games, options)
    elif options.advantage == "progress":
        turns = _progress([shaped_rewards(episode, options) for episode in episodes], games, options)
    else:
        totals = np.array([each.sum() for each in rewards])
        by_episode = _rloo(totals, games) if options.advantage == "rloo" else _grpo(totals, games, options)
        turns = [np.full(len(each), value) for each, value in zip(rewards, by_episode, strict=True)]
    silent = tuple(game for game, group in games.items() if not any(turns[i].any() for i in group))
    dropped = set(silent)
    return Advantages(tuple(turns), tuple(episode.game not in dropped for episode in episodes), len(games), silent)


def _require(episodes: Sequence[ScoredEpisode], options: AdvantageOptions) -> None:
    """Raise ValueError if an episode lacks what the options need."""
    needed = {
        "states": options.advantage == "gigpo",
        "distances": options.advantage == "progress",
        "invalid": options.invalid_penalty > 0,
    }
    for name, is_needed in needed.items():
        if is_needed and any(episode.rewards and not getattr(episode, name) for episode in episodes):
            raise ValueError(f"{name} of the episodes are needed")


def _penalized(episode: ScoredEpisode, penalty: float) -> Values:
    rewards = np.array(episode.rewards, dtype=np.float64)
    return rewards - penalty * np.array(episode.invalid, dtype=np.float64) if penalty else rewards


def _positions(keys: Iterable[Hashable]) -> dict[Hashable, list[int]]:
    """Return the positions of each key, in order of first occurrence."""
    found: defaultdict[Hashable, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        found[key].append(position)
    return dict(found)


def _centered(values: Values, scale: Scale, epsilon: float) -> Values:
    """Return values minus their mean, divided by their standard deviation if wanted; exactly 0 if all are equal."""
    if len(values) < 2 or np.ptp(values) <= EQUAL:
        return np.zeros_like(values)
    centered: Values = values - values.mean()
    return centered / (values.std(ddof=1) + epsilon) if scale == "group" else centered


def _centered_by(values: Values, groups: Iterable[list[int]], scale: Scale, epsilon: float) -> Values:
    found = np.zeros_like(values)
    for group in groups:
        found[group] = _centered(values[group], scale, epsilon)
    return found


def _grpo(totals: Values, games: dict[Hashable, list[int]], options: AdvantageOptions) -> Values:
    return _centered_by(totals, games.values(), options.scale_rewards, GRPO_EPSILON)


def _rloo(totals: Values, games: dict[Hashable, list[int]]) -> Values:
    found = _centered_by(totals, games.values(), "none", 0)
    for group in games.values():
        found[group] *= len(group) / max(len(group) - 1, 1)  # R - mean of the others = n/(n-1)·(R - mean of all)
    return found


def _returns(rewards: Values, discount: float) -> Values:
    """Return Σ_{k ≥ t} discount^(k - t)·rewards[k] for every turn t."""
    found = np.empty_like(rewards)
    running = 0.0
    for turn in range(len(rewards) - 1, -1, -1):
        running = rewards[turn] + discount * running
        found[turn] = running
    return found


def _split(values: Values, like: Sequence[Values]) -> list[Values]:
    """Return the values of all turns, one array per episode."""
    return np.split(values, np.cumsum([len(each) for each in like])[:-1]) if like else []


def _gigpo(
    episodes: Sequence[ScoredEpisode],
    rewards: Sequence[Values],
    games: dict[Hashable, list[int]],
    options: AdvantageOptions,
) -> list[Values]:
    """Return A_E + step_weight·A_S (GiGPO; Feng et al. 2025, arXiv 2505.10978, eq. 3, 7 and 8).

    A_E compares the episodes' rewards in the game as in grpo. A_S compares the discounted returns of all turns that
    acted on the same state, in any of the game's episodes; a turn alone has A_S = 0. The two published implementations
    differ: verl-agent groups these turns within one game (`anchors="game"`), Trinity over the whole batch ("batch"),
    where turns of different games meet if their observations are equal. verl-agent also takes the mean in A_E over
    turns, so that long episodes count more; Trinity takes it over episodes, as here.
    """
    totals = np.array([each.sum() for each in rewards])
    by_episode = _centered_by(totals, games.values(), options.scale_rewards, GIGPO_EPSILON)
    returns = np.concatenate([_returns(each, options.gamma) for each in rewards]) if rewards else np.empty(0)
    anchors = _positions(
        (episode.game if options.anchors == "game" else None, state) for episode in episodes for state in episode.states
    )
    by_state = _split(_centered_by(returns, anchors.values(), options.scale_rewards, GIGPO_EPSILON), rewards)
    return [value + options.step_weight * each for value, each in zip(by_episode, by_state, strict=True)]


def _progress(shaped: Sequence[Values], games: dict[Hashable, list[int]], options: AdvantageOptions) -> list[Values]:
    """Return the shaped returns of all turns, minus their mean in the game (and divided as in grpo).

    Turn t has the return Σ_{k ≥ t} (gamma·lam)^(k - t)·(r + F)_k. With lam = 1 that is r's return plus a term of the
    last state, minus Φ(s_t). Below 1 it is the generalized advantage of Schulman et al. 2016 (arXiv 1506.02438, eq. 16)
    with Φ as the value: it credits a turn with what happens soon after, and is biased as far as Φ is not the value.
    """
    returns = [_returns(each, options.gamma * options.lam) for each in shaped]
    starts = np.cumsum([0, *(len(each) for each in returns)])
    groups = [[turn for i in group for turn in range(starts[i], starts[i + 1])] for group in games.values()]
    flat = np.concatenate(returns) if returns else np.empty(0)
    return _split(_centered_by(flat, groups, options.scale_rewards, GRPO_EPSILON), returns)


def shaped_rewards(episode: ScoredEpisode, options: AdvantageOptions) -> Values:
    """Return r + F for each turn, F = gamma·Φ(s') - Φ(s): potential-based shaping (Ng et al. 1999, theorem 1).

    Φ = -progress_reward·distance, so that a step towards the goal is rewarded. Whatever Φ is, the discounted sum of F
    telescopes to gamma^turns·Φ(end) - Φ(start): a detour earns nothing.
    """
    phi = _potentials(episode, options)
    return _penalized(episode, options.invalid_penalty) + options.gamma * phi[1:] - phi[:-1]


def _potentials(episode: ScoredEpisode, options: AdvantageOptions) -> Values:
    """Return Φ before each turn and after the last, (turns + 1,): -progress_reward·distance.

    A state from which the game can no longer be won counts as `lost_distance` steps from the goal, the largest distance
    there is: the turn that leads there pays at once, later ones pay nothing. Where an episode is cut off before it is
    won, the theorem asks for Φ = 0 (`cut_off="zero"`): with gamma = 1 the shaping rewards of every episode then sum to
    the same constant, -Φ(start), and the last turn is paid for the distance that was left. "kept" leaves Φ as it is, as
    if the episode continued. A lost episode then also costs progress_reward·(distance left): more can be learned from
    it, but the best policy may be another one, which loses more often and closer to the goal.
    """
    steps = [options.lost_distance if each is None else min(each, options.lost_distance) for each in episode.distances]
    found: Values = -options.progress_reward * np.array(steps, dtype=np.float64)
    if options.cut_off == "zero":
        found[-1] = 0.0
    return found
