"""What stops a run of `rl`: one line that names the thing, the value and the way out; or SIGTERM, which saves."""

import errno
import json
import os
import subprocess
import sys
import time

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")

from typer.testing import CliRunner

from alfworld_sft.cli import app
from alfworld_sft.errors import UserError
from alfworld_sft.models.stamp import STAMP_FILE, CheckpointError
from alfworld_sft.rl.limits import RunawayError
from alfworld_sft.train import checkpoint as checkpoints
from alfworld_sft.train.checkpoint import last_step
from tests.rl.helpers import learn, options
from tests.train.helpers_loop import metrics

ENDLESS = ("trainer.total_training_steps=100000", "trainer.save_freq=0")


@pytest.fixture(scope="module")
def base(agent):
    """The model that the agent was trained from: it has learned nothing."""
    return agent.parents[1] / "random"


def test_a_base_model_that_never_wins_ends_the_run_and_is_kept_as_it_was(base, games, tmp_path):
    with pytest.raises(RunawayError, match=r"^step 2: no episode of the last 4 games was won"):
        learn(options(base, games, tmp_path / "run", *ENDLESS, "rl.patience=4"))
    assert [line["success"] for line in metrics(tmp_path / "run")] == [0]  # the step before it
    assert last_step(tmp_path / "run") == 1  # with more patience it continues


def test_a_base_model_whose_replies_are_no_commands_is_told_apart(base, games, tmp_path):
    with pytest.raises(RunawayError, match=r"^step 1: 0% of the replies contain a command that can be executed"):
        learn(options(base, games, tmp_path / "run", "rl.min_valid_share=0.2"))
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_model_or_of_other_games_is_refused(agent, base, games, tmp_path):
    more = ("trainer.total_training_steps=1",)
    learn(options(agent, games, tmp_path, *more))
    with pytest.raises(CheckpointError, match="was made of another base model"):
        learn(options(base, games, tmp_path, *more))
    with pytest.raises(CheckpointError, match="was made of another source of games"):
        learn(options(agent, "embedded", tmp_path, *more))
    with pytest.raises(CheckpointError, match=r"with rl\.num_generations=4, not 5"):
        learn(options(agent, games, tmp_path, *more, "rl.num_generations=5"))
    with pytest.raises(CheckpointError, match=r"with rl\.invalid_penalty=0, not 0\.1"):
        learn(options(agent, games, tmp_path, *more, "rl.invalid_penalty=0.1"))
    with pytest.raises(CheckpointError, match=r"with env\.max_repeats=None, not 8"):
        learn(options(agent, games, tmp_path, *more, "env.max_repeats=8"))


def test_a_checkpoint_of_an_older_version_is_resumed_whatever_it_says_of_other_estimators(agent, games, tmp_path):
    """Then the potential at the end was another by default, which is of no account to grpo."""
    learn(options(agent, games, tmp_path, "trainer.total_training_steps=1"))
    file = tmp_path / "global_step_1" / STAMP_FILE
    size, stamp = file.stat().st_size, json.loads(file.read_text())
    stamp["config"]["rl"]["cut_off"] = "kept"
    stamp["identity"] = {key: value for key, value in stamp["identity"].items() if not key.startswith("rl.")}
    file.write_text(json.dumps(stamp).ljust(size))  # the manifest has the size
    assert learn(options(agent, games, tmp_path, "trainer.total_training_steps=2")).steps == 1
    stamp["config"]["rl"]["advantage"] = "progress"
    file.write_text(json.dumps(stamp).ljust(size))
    from_there = (f"trainer.resume_mode={tmp_path}/global_step_1", "rl.advantage=progress")
    with pytest.raises(CheckpointError, match=r"with rl\.cut_off=kept, not zero"):
        learn(options(agent, games, tmp_path / "other", *from_there))


def test_a_full_disk_is_told_and_leaves_no_half_checkpoint(agent, games, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(
        CheckpointError, match="global_step_1: the checkpoint cannot be written: No space left on device"
    ):
        learn(options(agent, games, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("games.split=valid_seen", "is for evaluation"),
        ("games.source=/nowhere", "/nowhere does not exist"),
        ("prompt.template=nice", "unknown template 'nice'"),
        ("trainer.logger=[nothing]", "there are console"),
        ("model.path=/no/model", "/no/model: there is no such folder"),
        ("policy.name=server", "OPENAI_BASE_URL"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_written(agent, games, tmp_path, monkeypatch, wrong, message):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    result = CliRunner().invoke(app, ["rl", *options(agent, games, tmp_path / "run", wrong)])
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_a_template_without_an_action_is_refused(agent, games, tmp_path):
    template = tmp_path / "mute.toml"
    template.write_text('extends = "default"\ntags = ["think"]\n')
    with pytest.raises(UserError, match=r"template mute: 'tags' must list some of .*, with action"):
        learn(options(agent, games, tmp_path / "run", f"prompt.template={template}"))


def test_sigterm_saves_and_the_same_command_resumes(agent, games, tmp_path):
    words = options(agent, games, tmp_path, *ENDLESS)
    process = subprocess.Popen(
        [sys.executable, "-m", "alfworld_sft", "rl", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    while process.poll() is None and not ((tmp_path / "metrics.jsonl").exists() and metrics(tmp_path)):
        time.sleep(0.02)
    process.terminate()
    stdout, said = process.communicate(timeout=100)
    step = last_step(tmp_path)
    assert (process.returncode, stdout) == (143, "")
    assert said.splitlines()[-1] == (
        f"stopped by SIGTERM after step {step}; saved {tmp_path}/global_step_{step};"
        " resume from there with the same command"
    )
    assert learn([*words, f"trainer.total_training_steps={step + 1}"]).steps == 1
