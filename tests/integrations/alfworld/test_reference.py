"""The drop-in says what alfworld and textworld say: a few of the scenarios that benchmarks/dropin_parity.py plays."""

import pytest

from alfworld_sft.integrations.alfworld.shim import write_shim
from tests.integrations.alfworld.scenarios import file_scenarios, first_difference, one_file_per_type, play_both
from tests.reference.client import why_no_reference
from tests.reference.real import NO_REAL_GAMES, REAL_GAMES, game_files

WHY_NOT = why_no_reference() or (None if game_files() else NO_REAL_GAMES)
pytestmark = [pytest.mark.reference, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]


def test_one_game_of_each_type_each_through_another_interface(tmp_path):
    write_shim(tmp_path / "shim")
    scenarios = list(file_scenarios(one_file_per_type(REAL_GAMES), steps=8))
    theirs, ours = play_both(scenarios, tmp_path, tmp_path / "shim")
    assert {name: first_difference(said, ours[name]) for name, said in theirs.items()} == dict.fromkeys(theirs)
    assert len(theirs) == 6
