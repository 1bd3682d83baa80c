"""The world says what the reference says, now: one game of each task type, and one in each of the other grammars."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reference.client import Reference, ReferenceFailedError, why_no_reference
from tests.reference.differential import OurWorld, compare_game
from tests.reference.facts import read_facts
from tests.reference.real import NO_REAL_GAMES, TASK_TYPES, game_files, task_type
from tests.reference.variants import Grammar, write_variant

WHY_NOT = why_no_reference() or (None if game_files() else NO_REAL_GAMES)
pytestmark = [pytest.mark.reference, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]

STEPS = 25


@pytest.fixture(scope="module")
def reference() -> Iterator[Reference]:
    with Reference(hash_seed=1) as running:
        yield running


def smallest_game(kind: str) -> Path:
    return min((path for path in game_files() if task_type(path) == kind), key=lambda path: path.stat().st_size)


def assert_same(reference: Reference, path: Path, *, goal_first: bool = True) -> None:
    result = compare_game(
        reference, OurWorld(), path, read_facts(path), seed=path.name, steps=STEPS, goal_first=goal_first
    )
    assert result.differences == []
    assert sum(result.steps.values()) == STEPS
    assert result.won or not goal_first


@pytest.mark.parametrize("kind", TASK_TYPES)
def test_the_worlds_agree_on_a_game_of_each_task_type(reference: Reference, kind: str) -> None:
    assert_same(reference, smallest_game(kind))


@pytest.mark.parametrize("grammar", ["logic", "older"])
def test_the_worlds_agree_on_other_grammars(reference: Reference, grammar: Grammar, tmp_path: Path) -> None:
    assert_same(reference, write_variant(smallest_game("pick_clean_then_place_in_recep"), grammar, tmp_path))


def test_the_reference_reports_what_it_cannot_load_and_lives_on(reference: Reference, tmp_path: Path) -> None:
    broken = tmp_path / "game.tw-pddl"
    broken.write_text("{}", encoding="utf-8")
    with pytest.raises(ReferenceFailedError, match="KeyError"):
        reference.load(broken)
    reference.load(smallest_game("look_at_obj_in_light"))
    assert reference.reset().text.startswith("-= Welcome to TextWorld, ALFRED! =-")


def test_a_reference_that_takes_too_long_is_ended() -> None:
    with Reference() as slow:
        slow.timeout_s = 0.01
        with pytest.raises(ReferenceFailedError, match="took more than"):
            slow.load(smallest_game("look_at_obj_in_light"))
