"""The reference plays games of our own as our world does: one of each task type, and its walkthrough."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from alfworld_sft.games.generator.generate import generate_game
from alfworld_sft.types import TASK_TYPES
from benchmarks.generated_parity import compare
from tests.reference.client import Reference, why_no_reference

WHY_NOT = why_no_reference()
pytestmark = [pytest.mark.reference, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]


@pytest.fixture(scope="module")
def reference() -> Iterator[Reference]:
    with Reference(hash_seed=1) as running:
        yield running


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_the_worlds_agree_on_a_generated_game_of_each_task_type(reference: Reference, tmp_path: Path, task_type):
    made = generate_game("live", task_types=[task_type])
    result = compare(reference, made, tmp_path, steps=15, hash_seed=1)
    assert result["differences"] == []
    assert result["walkthrough_won_in_both"]
