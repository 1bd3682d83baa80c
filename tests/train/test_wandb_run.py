"""wandb itself, without a key and without a network. Each program is a process: wandb keeps what it has read."""

import json
import os
import shlex
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("wandb", reason="an extra: pip install 'alfworld-sft[wandb]'")

PROGRAM = """
import logging, sys
from pathlib import Path
from alfworld_sft.errors import UserError
from alfworld_sft.train.log import RunLog
logging.basicConfig(level=logging.INFO, format="SAID %(message)s")
folder, done = Path(sys.argv[1]), int(sys.argv[2])
try:
    log = RunLog(folder, ["wandb"], project="p", experiment="e", config={"a": 1}, done=done, total=4)
except UserError as error:
    sys.exit(f"SAID error: {error}")
log.step(done + 1, {"loss": 1.5})
log.close()
"""


def call(folder, done=0, **environ):
    """Run the program in a home without credentials; return its exit code and what the package said."""
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    clean |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "WANDB_ERROR_REPORTING": "false", **environ}
    clean.pop("NETRC", None)
    program = [sys.executable, "-c", PROGRAM, str(folder), str(done)]
    result = subprocess.run(
        program, env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    said = [line.removeprefix("SAID ") for line in result.stderr.splitlines() if line.startswith("SAID ")]
    return result.returncode, [line for line in said if "wandb" in line]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


OFFLINE = "wandb finds no API key, so this run is written offline (WANDB_MODE=offline)"


def test_without_a_key_wandb_writes_offline_and_says_so(folder):
    assert call(folder) == (0, [OFFLINE])
    (part,) = (folder / "wandb").glob("offline-run-*")
    (record,) = part.glob("*.wandb")
    assert b"train/loss" in record.read_bytes()
    assert json.loads((folder / "metrics.jsonl").read_text()) == {"step": 1, "loss": 1.5}


def test_a_resumed_offline_run_says_how_both_parts_are_uploaded(folder):
    from wandb.cli.cli import cli

    call(folder)
    code, (first, upload) = call(folder, done=1)
    assert (code, first) == (0, OFFLINE)
    parts = sorted(map(str, (folder / "wandb").glob("offline-run-*")))
    assert len(parts) == 2
    said, command = upload.split("; to upload: wandb sync ")
    assert said == "this run has 2 parts in wandb, 2 of them offline"
    options = shlex.split(command)
    assert options[-2:] == parts
    assert set(options[:-2]) <= {"--append"}
    # wandb's own command takes these words.
    assert cli.commands["sync"].make_context("sync", options).params


def test_a_run_wandb_is_told_to_write_offline_needs_no_warning(folder):
    assert call(folder, WANDB_MODE="offline") == (0, [])


def test_a_run_that_must_be_online_says_what_is_missing(folder):
    code, (line,) = call(folder, WANDB_MODE="online")
    assert code == 1
    assert line.startswith("error: wandb cannot start: ")
    assert line.endswith("; try WANDB_MODE=offline, or leave it out of trainer.logger")
    assert "key" in line
