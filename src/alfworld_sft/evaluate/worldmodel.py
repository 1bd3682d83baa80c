"""How well does a policy predict the next observation? Its `<prediction>` against what the game answered.

Scores are exact match and F1 over the objects and receptacles named, by kind of action: the answer to `take` follows
from the command, while the contents of a closed receptacle cannot be known. Two baselines are scored as well.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from alfworld_sft.prompts.tags import read_section
from alfworld_sft.types import Episode, Step
from alfworld_sft.world.language import IS_CLOSED, LOCATION, verb_of
from alfworld_sft.world.treatments import TREATMENTS

ActionKind = Literal[
    "go to open receptacle", "go to closed receptacle", "open", "close", "take", "move", "clean/heat/cool", "use",
    "look/inventory", "examine", "other", "invalid",
]  # fmt: skip
ACTION_KINDS: tuple[ActionKind, ...] = get_args(ActionKind)
_KIND_BY_VERB: dict[str, ActionKind] = {
    "open": "open", "close": "close", "take": "take", "put": "move", "use": "use", "look": "look/inventory",
    "inventory": "look/inventory", "examine": "examine",
    **dict.fromkeys(TREATMENTS, "clean/heat/cool"),
}  # fmt: skip

Predictor = Literal["policy", "copy of the last observation", "most frequent answer"]
PREDICTORS: tuple[Predictor, ...] = get_args(Predictor)

_NAME = re.compile(rf"\b(?!{LOCATION.prefix})([^\W\d_]+ \d+)\b")


@dataclass
class Score:
    """The score of one predictor on a set of cases."""

    cases: int = 0
    exact: int = 0
    f1_sum: float = 0.0

    def add(self, prediction: str | None, truth: str) -> None:
        """Count a case; no prediction scores 0."""
        self.cases += 1
        if prediction is not None:
            self.exact += _normalize_spaces(prediction) == _normalize_spaces(truth)
            self.f1_sum += f1(names_in(prediction), names_in(truth))

    def __add__(self, other: Score) -> Score:
        return Score(self.cases + other.cases, self.exact + other.exact, self.f1_sum + other.f1_sum)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values: means over the cases."""
        cases = max(self.cases, 1)
        return {"cases": self.cases, "exact_match": self.exact / cases, "f1": self.f1_sum / cases}


@dataclass
class WorldModelScore:
    """The scores of all predictors by kind of action. `missing` counts the policy's replies without a prediction."""

    missing: int = 0
    by_kind: dict[Predictor, dict[ActionKind, Score]] = field(default_factory=lambda: {p: {} for p in PREDICTORS})

    def add(self, step: Step, most_frequent: str) -> None:
        """Score one step of the policy's own; `most_frequent` is the most frequent answer to its command."""
        if step.reply.said_by:
            return
        own = read_section(step.reply.text, "prediction")
        self.missing += own is None
        guesses: dict[Predictor, str | None] = dict(
            zip(PREDICTORS, (own, step.observation, most_frequent), strict=True)
        )
        for predictor, guess in guesses.items():
            self.by_kind[predictor].setdefault(kind_of(step), Score()).add(guess, step.next_observation)

    def of(self, predictor: Predictor, kind: ActionKind | None = None) -> Score:
        """Return a predictor's score on one kind of action, or on all of them."""
        scores = self.by_kind[predictor]
        return sum(scores.values(), Score()) if kind is None else scores.get(kind, Score())

    @property
    def kinds(self) -> tuple[ActionKind, ...]:
        """The kinds of action that have cases."""
        return tuple(kind for kind in ACTION_KINDS if kind in self.by_kind["policy"])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for `metrics.json`."""
        return {
            "missing": self.missing,
            **{
                predictor: {
                    "all": self.of(predictor).as_dict(),
                    "by_kind": {kind: self.of(predictor, kind).as_dict() for kind in self.kinds},
                }
                for predictor in PREDICTORS
            },
        }


def score_predictions(episodes: Callable[[], Iterable[Episode]]) -> WorldModelScore:
    """Score the predictions of episodes, which are read twice: to count the answers, and to score.

    The most frequent answer to a command is taken from the same episodes, so no predictor that sees only the command
    can match more often. Memory grows with the number of different answers.
    """
    answers: dict[str, Counter[str]] = {}
    for episode in episodes():
        for step in episode.steps:
            answers.setdefault(step.command, Counter())[step.next_observation] += 1
    # Ties go to the alphabetically first answer, so that the order of the episodes does not matter.
    frequent = {
        command: min(counts, key=lambda answer, counts=counts: (-counts[answer], answer))  # type: ignore[misc]
        for command, counts in answers.items()
    }
    score = WorldModelScore()
    for episode in episodes():
        for step in episode.steps:
            score.add(step, frequent[step.command])
    return score


def kind_of(step: Step) -> ActionKind:
    """Return the kind of a step's action; only the answer shows whether a receptacle is closed."""
    if step.problem is not None:
        return "invalid"
    verb = verb_of(step.command)
    if verb == "go":
        closed = step.next_observation.endswith(IS_CLOSED.suffix)
        return "go to closed receptacle" if closed else "go to open receptacle"
    return _KIND_BY_VERB.get(verb or "", "other")


def names_in(text: str) -> frozenset[str]:
    """Return the objects and receptacles named in a text: a word and a number, but not a location ("loc 3")."""
    return frozenset(_NAME.findall(text.lower()))


def f1(predicted: frozenset[str], true: frozenset[str]) -> float:
    """Return the harmonic mean of precision and recall of a set of names; 1 if both sets are empty.

    As for answers in P. Rajpurkar et al. (2016), arXiv:1606.05250, section 6.1, with names instead of words; scores are
    averaged over cases.
    """
    return 2 * len(predicted & true) / (len(predicted) + len(true)) if predicted or true else 1.0


def _normalize_spaces(text: str) -> str:
    return " ".join(text.split())
