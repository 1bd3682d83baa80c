"""How do models of several seeds compare with others on the same games, all their plays taken together?"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from alfworld_sft.evaluate.compare import Result, compare, read_result


def against(others: Sequence[Path], ours: Sequence[Path]) -> dict[str, Any]:
    """Compare evaluations game by game: the difference in success, with its 95 % interval over games, and p."""
    found = compare(together(others), together(ours))
    return {"difference": found.difference, "interval_95": list(found.interval), "p": found.p_value}


def together(evaluations: Sequence[Path]) -> Result:
    """Return evaluations of the same games as one that plays each of them so often."""
    results = [read_result(folder) for folder in evaluations]
    outcomes = {
        task_type: {game: tuple(chain(*(each.outcomes[task_type][game] for each in results))) for game in by_game}
        for task_type, by_game in results[0].outcomes.items()
    }
    return replace(results[0], outcomes=outcomes)
