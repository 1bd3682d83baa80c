"""The drop-in says what alfworld and textworld say: a few of the scenarios that benchmarks/dropin_parity.py plays, and
two released programs that run unchanged on both."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from alfworld_sft.integrations.alfworld.shim import write_shim
from tests.integrations.alfworld.scenarios import file_scenarios, first_difference, one_file_per_type, play_both
from tests.reference.client import reference_python, why_no_reference
from tests.reference.real import NO_REAL_GAMES, REAL_GAMES, REPOSITORY, game_files

WHY_NOT = why_no_reference() or (None if game_files() else NO_REAL_GAMES)
pytestmark = [pytest.mark.reference, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]
TRINITY = os.environ.get("TRINITY_WHEEL", "")
"""The wheel trinity_rft-0.6.0 (from PyPI, without its dependencies)."""


@pytest.fixture
def shim(tmp_path):
    write_shim(tmp_path / "shim")
    return tmp_path / "shim"


@pytest.fixture
def game(tmp_path):
    """A folder with a game's files, and the problem alone as alfworld-play-tw reads it."""
    folder = tmp_path / "trial"
    shutil.copytree(one_file_per_type(REAL_GAMES)[0].parent, folder)
    problem = json.loads((folder / "game.tw-pddl").read_bytes())["pddl_problem"]
    (folder / "initial_state.pddl").write_text(problem)
    return folder


def output_of_both(shim: Path, program: list[str], said: str = "") -> list[str]:
    """The stdout of a program under the reference's interpreter, and under ours with the shim."""
    outputs = []
    for python, paths in ((str(reference_python()), ""), (sys.executable, f"{shim}{os.pathsep}{REPOSITORY / 'src'}")):
        env = os.environ | {"PYTHONPATH": paths, "PYTHONHASHSEED": "0", "ALFWORLD_DATA": str(REAL_GAMES.parent)}
        done = subprocess.run([python, *program], env=env, input=said, capture_output=True, text=True, check=True)
        outputs.append(done.stdout)
    return outputs


def test_one_game_of_each_type_each_through_another_interface(tmp_path, shim):
    scenarios = list(file_scenarios(one_file_per_type(REAL_GAMES), steps=8))
    theirs, ours = play_both(scenarios, tmp_path, shim)
    assert {name: first_difference(said, ours[name]) for name, said in theirs.items()} == dict.fromkeys(theirs)
    assert len(theirs) == 6


def test_alfworld_play_tw_runs_unchanged(shim, game):
    script = reference_python().with_name("alfworld-play-tw")
    plan = json.loads((game / "game.tw-pddl").read_bytes())["walkthrough"]
    said = "\n".join(["look", "dance", *plan]) + "\n"
    theirs, ours = output_of_both(shim, [str(script), str(game)], said)
    assert "You won!" in theirs
    assert ours == theirs


@pytest.mark.skipif(not TRINITY, reason="TRINITY_WHEEL does not name the wheel of trinity-rft 0.6.0")
def test_trinitys_workflow_runs_unchanged(shim, game):
    driver = Path(__file__).with_name("trinity_driver.py")
    theirs, ours = output_of_both(shim, [str(driver), TRINITY, str(game / "game.tw-pddl")])
    assert "RESULT" in theirs
    assert ours == theirs
