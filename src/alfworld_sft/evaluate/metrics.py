"""How well did a policy play? Episodes → success by task type, steps, invalid actions, reasons for losses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from alfworld_sft.evaluate.statistics import Interval, effective_count, pass_at_k, wilson_interval
from alfworld_sft.runs.rollout import runs_in_circle
from alfworld_sft.types import TASK_TYPES, Episode
from alfworld_sft.usage import Usage

Failure = Literal["error", "invalid", "loop", "step limit"]
FAILURES: tuple[Failure, ...] = get_args(Failure)
LOOP_REPEATS = 8
"""Repeats of an exchange that count as a loop, unless the protocol ends the episode sooner."""
UNKNOWN_TYPE = "unknown"
"""The task type of games that could not be read."""


@dataclass(frozen=True, slots=True)
class Unplayed:
    """An episode that ended in an error. It counts as lost; leaving it out would favour policies failing hard games."""

    index: int
    game_id: str
    task_type: str


@dataclass(frozen=True, slots=True)
class Success:
    """The number of plays won, with the 95 % interval of the success rate."""

    won: int
    played: int
    interval: Interval

    @property
    def rate(self) -> float:
        """The share of plays won."""
        return self.won / self.played if self.played else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"won": self.won, "played": self.played, "rate": self.rate, "interval_95": list(self.interval)}


@dataclass
class Metrics:
    """What episodes say about the policy that played them. Memory grows with the number of games, not of steps.

    `outcomes`: task type → game → index of the episode → whether it was won.
    """

    outcomes: dict[str, dict[str, dict[int, bool]]] = field(default_factory=dict)
    steps: int = 0
    steps_when_won: int = 0
    finished: int = 0
    invalid: Counter[str] = field(default_factory=Counter)
    failures: Counter[Failure] = field(default_factory=Counter)
    usage: Usage = field(default_factory=Usage)

    def add(self, episode: Episode) -> None:
        """Count an episode that was played to the end."""
        self._record_outcome(episode.task_type, episode.game_id, episode.index, won=episode.success)
        self.finished += 1
        self.usage.add(episode)
        self.steps += len(episode.steps)
        self.invalid.update(step.problem for step in episode.steps if step.problem is not None)
        if episode.success:
            self.steps_when_won += len(episode.steps)
        else:
            self.failures[classify_failure(episode)] += 1

    def add_unplayed(self, unplayed: Unplayed) -> None:
        """Count an episode that ended in an error, after those that did not: they may tell its game's type."""
        types = (task_type for task_type, by_game in self.outcomes.items() if unplayed.game_id in by_game)
        self._record_outcome(next(types, unplayed.task_type), unplayed.game_id, unplayed.index, won=False)
        self.failures["error"] += 1

    def _record_outcome(self, task_type: str, game_id: str, index: int, *, won: bool) -> None:
        self.outcomes.setdefault(task_type, {}).setdefault(game_id, {})[index] = won

    def success(self, task_type: str | None = None) -> Success:
        """Return the success on one task type, or on all of them."""
        chosen = self.outcomes.values() if task_type is None else [self.outcomes.get(task_type, {})]
        games = [list(plays.values()) for by_game in chosen for plays in by_game.values()]
        won, played = sum(map(sum, games)), sum(map(len, games))
        return Success(won, played, wilson_interval(won / played if played else 0.0, effective_count(games)))

    @property
    def task_types(self) -> tuple[str, ...]:
        """The task types played, in the order of TASK_TYPES."""
        return tuple(t for t in (*TASK_TYPES, UNKNOWN_TYPE) if t in self.outcomes)

    @property
    def mean_steps(self) -> float | None:
        """Mean steps per episode, including lost ones; None if none was played."""
        return self.steps / self.finished if self.finished else None

    @property
    def mean_steps_when_won(self) -> float | None:
        """Mean steps per won episode; None if none was won."""
        won = self.success().won
        return self.steps_when_won / won if won else None

    @property
    def invalid_rate(self) -> float:
        """The share of replies that the game could not execute."""
        return self.invalid.total() / self.steps if self.steps else 0.0

    def pass_at_k(self) -> dict[int, float]:
        """Return pass@k for k = 1, 2, 4, … up to the number of plays per game; empty with one play per game."""
        games = [(sum(plays.values()), len(plays)) for by_game in self.outcomes.values() for plays in by_game.values()]
        most = min((played for _, played in games), default=0)
        if most < 2:
            return {}
        ks = sorted({most, *(1 << n for n in range(most.bit_length()) if 1 << n <= most)})
        return {k: sum(pass_at_k(won, played, k) for won, played in games) / len(games) for k in ks}

    @property
    def rates_by_play(self) -> tuple[float, ...]:
        """The success rate of every game's first play, second play and so on; empty with one play a game."""
        games = [[plays[i] for i in sorted(plays)] for by_game in self.outcomes.values() for plays in by_game.values()]
        number = min(map(len, games), default=0)
        return tuple(sum(plays[n] for plays in games) / len(games) for n in range(number)) if number > 1 else ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for `metrics.json`; `outcomes` lists each game's plays in order."""
        return {
            "success": self.success().as_dict(),
            "success_by_task_type": {t: self.success(t).as_dict() for t in self.task_types},
            "success_by_play": list(self.rates_by_play),
            "pass_at_k": {str(k): rate for k, rate in self.pass_at_k().items()},
            "mean_steps": self.mean_steps,
            "mean_steps_when_won": self.mean_steps_when_won,
            "invalid_actions": {
                "rate": self.invalid_rate,
                "replies": self.invalid.total(),
                "of": self.steps,
                "by_problem": dict(sorted(self.invalid.items())),
            },
            "failures": {reason: self.failures[reason] for reason in FAILURES},
            "outcomes": {
                t: {game_id: [plays[index] for index in sorted(plays)] for game_id, plays in sorted(by_game.items())}
                for t, by_game in ((t, self.outcomes[t]) for t in self.task_types)
            },
        }


def measure(episodes: Iterable[Episode], unplayed: Iterable[Unplayed] = ()) -> Metrics:
    """Return the metrics of episodes, which are read once, and of those that ended in an error."""
    metrics = Metrics()
    for episode in episodes:
        metrics.add(episode)
    for missing in unplayed:
        metrics.add_unplayed(missing)
    return metrics


def classify_failure(episode: Episode) -> Failure:
    """Return the first of these reasons that applies to a lost episode.

    error: it was not played to the end. invalid: the game could not execute at least half of the replies. loop: it was
    stopped before the step limit (`Protocol.max_repeats`, or no plan of a planner that teaches), or repeats itself at
    the end. step limit: none of these.
    """
    if episode.error is not None:
        return "error"
    if 2 * sum(step.problem is not None for step in episode.steps) >= len(episode.steps):
        return "invalid"
    stopped = len(episode.steps) < episode.max_steps
    return "loop" if stopped or runs_in_circle(episode.steps, LOOP_REPEATS) else "step limit"
