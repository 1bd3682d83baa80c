"""Which of two evaluations is better, and could it be chance? Paired by the same plays of the same games."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from alfworld_sft.counts import counted
from alfworld_sft.errors import ComparisonError, RunFolderError, os_reason
from alfworld_sft.evaluate.metrics import UNKNOWN_TYPE
from alfworld_sft.evaluate.statistics import Interval, exact_p_value, paired_difference
from alfworld_sft.runs.store import resume_command

RESULT_FILE = "metrics.json"
METHOD = "adjusted Wald interval (Bonett and Price 2012), exact McNemar test"
METHOD_REPEATED = "adjusted Wald interval over games (Bonett and Price 2012), exact sign-flip test over games"


@dataclass(frozen=True)
class Result:
    """A finished evaluation. `outcomes`: task type → game → whether each play was won."""

    name: str
    stamp: Mapping[str, Any]
    outcomes: Mapping[str, Mapping[str, tuple[bool, ...]]]

    @cached_property
    def plays(self) -> dict[str, tuple[str, tuple[bool, ...]]]:
        """Game → its task type and whether each play was won."""
        return {game_id: (t, plays) for t, by_game in self.outcomes.items() for game_id, plays in by_game.items()}

    @property
    def games(self) -> frozenset[str]:
        """The ids of the games that were played."""
        return frozenset(self.plays)

    @property
    def plays_of_games(self) -> dict[str, int]:
        """How often each game was played."""
        return {game_id: len(plays) for game_id, (_, plays) in self.plays.items()}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two results on the same plays. `difference` is b's success rate minus a's; `p_value` is two-sided.

    `by_task_type` holds (plays, won by a, won by b).
    """

    games: int
    both: int
    only_a: int
    only_b: int
    neither: int
    by_task_type: Mapping[str, tuple[int, int, int]]
    difference: float
    interval: Interval
    p_value: float
    method: str

    @property
    def plays(self) -> int:
        """The number of paired plays."""
        return self.both + self.only_a + self.only_b + self.neither


def read_result(path: Path, *, failed_as_lost: bool = False) -> Result:
    """Read an evaluation's folder or `metrics.json`; raises RunFolderError if it is not a finished evaluation.

    One with failed episodes is finished only with `failed_as_lost`: they then count as lost, as in its own figures.
    """
    file = path / RESULT_FILE if path.is_dir() else path
    try:
        data = json.loads(file.read_bytes())
        if data["status"] != "complete" and not (failed_as_lost and data["status"] == "incomplete"):
            raise RunFolderError(
                f"{path}: some of its episodes failed; play them first: {resume_command('evaluate', path)};"
                " where they fail again, --failed-as-lost counts them as lost"
            )
        outcomes = {
            str(task_type): {str(game_id): tuple(map(bool, plays)) for game_id, plays in by_game.items()}
            for task_type, by_game in data["outcomes"].items()
        }
        return Result(str(path), {**data["stamp"], "games": {**data["stamp"]["games"]}}, outcomes)
    except FileNotFoundError:
        why = f"it has no {RESULT_FILE}" if path.is_dir() else "there is no such folder or file"
        raise RunFolderError(f"{path} is not a finished evaluation: {why}") from None
    except OSError as error:
        raise RunFolderError(f"{file}: {os_reason(error)}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(f"{file} is not one that evaluate wrote ({type(error).__name__}: {error})") from None


def compare(a: Result, b: Result, *, different_protocols: bool = False) -> Comparison:
    """Compare two results; raises ComparisonError unless both are of the same games, played in the same way.

    With `different_protocols`, results are compared on the plays they have in common; there must be at least one.
    """
    differences = list(protocol_differences(a, b))
    if differences and not different_protocols:
        raise ComparisonError(
            f"{a.name} and {b.name} cannot be compared: {'; '.join(differences)}"
            " (--different-protocols compares them anyway)"
        )

    games: list[tuple[str, list[tuple[bool, bool]]]] = []
    for game_id, (task_type, mine) in a.plays.items():
        if game_id in b.plays:
            other_type, theirs = b.plays[game_id]
            known = other_type if task_type == UNKNOWN_TYPE else task_type  # a play that failed may not tell it
            games.append((known, list(zip(mine, theirs, strict=False))))
    if not games:
        raise ComparisonError(f"{a.name} and {b.name} have no game in common")

    counts = {(won_a, won_b): 0 for won_a in (True, False) for won_b in (True, False)}
    by_task_type: dict[str, tuple[int, int, int]] = {}
    for task_type, plays in games:
        number, in_a, in_b = by_task_type.get(task_type, (0, 0, 0))
        wins_a, wins_b = sum(won for won, _ in plays), sum(won for _, won in plays)
        by_task_type[task_type] = (number + len(plays), in_a + wins_a, in_b + wins_b)
        for pair in plays:
            counts[pair] += 1

    gains = [(sum(won_b - won_a for won_a, won_b in plays), len(plays)) for _, plays in games]
    difference, interval = paired_difference([gain / played for gain, played in gains])
    return Comparison(
        games=len(games),
        both=counts[True, True],
        only_a=counts[True, False],
        only_b=counts[False, True],
        neither=counts[False, False],
        by_task_type=by_task_type,
        difference=difference,
        interval=interval,
        p_value=exact_p_value(gain for gain, _ in gains),
        method=METHOD if all(played == 1 for _, played in gains) else METHOD_REPEATED,
    )


def protocol_differences(a: Result, b: Result) -> Iterator[str]:
    """Yield the differences between two protocols, other than the policy, the seed and the package version."""
    mine, theirs = _protocol(a), _protocol(b)
    for key in sorted(mine.keys() | theirs.keys()):
        if mine.get(key) != theirs.get(key):
            yield f"{key} {_format_value(mine.get(key))} or {_format_value(theirs.get(key))}"
    if a.games != b.games:
        only_a, only_b = counted(len(a.games - b.games), "game"), len(b.games - a.games)
        yield f"{only_a} only in the first, {only_b} only in the second"
    elif a.stamp["games"].get("sha256") != b.stamp["games"].get("sha256"):
        yield "games of the same names with other contents"


def _protocol(result: Result) -> dict[str, Any]:
    protocol = {key: value for key, value in result.stamp["protocol"].items() if key != "seed"}
    # Two template files may share a name, so the hash is compared as well.
    protocol["template"] = f"{protocol.get('template')} ({str(protocol.pop('template_sha256', None))[:8]})"
    sampling = result.stamp.get("sampling")
    if isinstance(sampling, dict):  # where a reply stops follows from the template; older stamps have it wrong
        sampling = {name: value for name, value in sampling.items() if name != "stop"}
    return {**protocol, "sampling": sampling}


def _format_value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
