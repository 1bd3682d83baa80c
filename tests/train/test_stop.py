"""SIGTERM, which schedulers send: the step is finished, a checkpoint saved, one line said; exit code 143."""

import os
import signal
import subprocess
import sys
import time

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")

from safetensors.torch import load_file

from alfworld_sft.errors import UserError
from alfworld_sft.train.checkpoint import last_step
from alfworld_sft.train.cli import train_command
from alfworld_sft.train.learner import StoppedError
from tests.train.helpers_loop import losses, metrics, options, run

ENDLESS = ("trainer.total_training_steps=100000", "trainer.save_freq=0", "data.val_files=null", "trainer.test_freq=0")


def started(*words):
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ, start_new_session=True,
    )  # fmt: skip


def stopped(process, out, send):
    """Send a signal once three steps are done; return what was said then."""
    while process.poll() is None and not ((out / "metrics.jsonl").exists() and len(metrics_so_far(out)) >= 3):
        time.sleep(0.02)
    send()
    stdout, stderr = process.communicate(timeout=100)
    assert stdout == ""
    return stderr


def metrics_so_far(out):
    return (out / "metrics.jsonl").read_bytes().splitlines()


def test_sigterm_saves_and_the_same_command_resumes(data, model, tmp_path):
    out = tmp_path / "run"
    words = options(data, model, out, *ENDLESS)
    process = started("-m", "alfworld_sft", "train", *words)
    said = stopped(process, out, process.terminate)
    assert process.returncode == 143
    step = last_step(out)
    assert [line["step"] for line in metrics(out)] == list(range(1, step + 1))
    assert said.splitlines()[-1] == (
        f"stopped by SIGTERM after step {step}; saved {out}/global_step_{step}; resume from there with the same command"
    )
    assert "Traceback" not in said
    assert run([*words, f"trainer.total_training_steps={step + 1}"]).steps == 1


@pytest.mark.parametrize("to", ["torchrun", "everyone", "one worker"])
def test_sigterm_under_torchrun_saves_once_and_shows_no_traceback(data, model, tmp_path, to):
    import psutil

    out = tmp_path / "run"
    launch = ("-m", "alfworld_sft.train.launch", "--standalone", "--nproc_per_node=2", "-m", "alfworld_sft.train")
    process = started(*launch, *options(data, model, out, *ENDLESS))

    def send():
        workers = psutil.Process(process.pid).children()
        assert len(workers) == 2
        targets = {"torchrun": [process], "everyone": [process, *workers], "one worker": workers[1:]}[to]
        for target in targets:
            target.send_signal(signal.SIGTERM)

    said = stopped(process, out, send)
    assert process.returncode == 143, said
    step = last_step(out)
    begun, ended = said.splitlines()
    assert begun.startswith("INFO: training ")
    assert ended.startswith(f"stopped by SIGTERM after step {step}; saved {out}/global_step_{step};")


STOPPED_WHILE_LOADING = """
import os, signal, sys
from alfworld_sft import cli
from alfworld_sft.train import loop

load = loop._load_data
def load_after_signal(config, *rest):
    assert config.local_dir.exists()
    os.kill(os.getpid(), signal.SIGTERM)
    return load(config, *rest)
loop._load_data = load_after_signal
sys.argv[0] = "alfworld-sft"
cli.main()
"""


def test_sigterm_before_the_first_step_leaves_nothing(data, model, tmp_path):
    out = tmp_path / "run"
    process = started("-c", STOPPED_WHILE_LOADING, "train", *options(data, model, out, *ENDLESS))
    _, said = process.communicate(timeout=60)
    assert (process.returncode, out.exists()) == (143, False)
    assert said.splitlines() == ["stopped before the first checkpoint; nothing was saved"]


def test_a_stop_during_a_test_loses_neither_the_step_nor_the_test(data, model, tmp_path):
    """The stopped and resumed run has the lines and the weights of the one that nobody stopped."""
    common = ("trainer.total_epochs=2", "trainer.save_freq=0")

    def hook(moment):
        return {"games/success": moment.step / 100}

    def stopping_hook(moment):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
        raise AssertionError("the signal stops the test at once")

    run(options(data, model, tmp_path / "calm", *common), [hook])
    with pytest.raises(StoppedError, match=r"stopped by SIGTERM after step 4; saved .*/run/global_step_4$"):
        run(options(data, model, tmp_path / "run", *common), [stopping_hook])
    assert run(options(data, model, tmp_path / "run", *common), [hook]).steps == 4
    calm, again = ([{**line, "tokens_per_s": 0} for line in metrics(tmp_path / name)] for name in ("calm", "run"))
    assert again == calm
    one, other = (load_file(tmp_path / n / "final" / "adapter_model.safetensors") for n in ("calm", "run"))
    assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())


def test_a_stop_at_the_last_step_is_finished_by_the_next_run(data, model, tmp_path):
    words = options(data, model, tmp_path, "trainer.total_epochs=1")

    def stopping_hook(moment):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    with pytest.raises(StoppedError):
        run(words, [stopping_hook])
    assert not (tmp_path / "final").exists()
    assert run(words).steps == 0
    assert (tmp_path / "final").is_dir()
    assert [line["step"] for line in metrics(tmp_path) if "val/loss" in line] == [4]
    assert [step for step, _, _ in losses(tmp_path)] == [1, 2, 3, 4]


def test_a_killed_process_ends_the_run_with_one_line_and_another_number_resumes(data, model, tmp_path):
    import psutil

    out = tmp_path / "run"
    words = options(data, model, out, *ENDLESS, "trainer.save_freq=2")
    process = started("-m", "alfworld_sft", "train", *words, "trainer.processes=2")

    def send():
        workers = psutil.Process(process.pid).children()
        assert len(workers) == 2
        next(worker for worker in workers if worker.environ()["RANK"] == "1").kill()

    said = stopped(process, out, send)
    assert process.returncode == 1
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("error: process 1 was ended by SIGKILL (by the system, if memory ran out)")
    step = last_step(out)
    assert run([*words, f"trainer.total_training_steps={step + 1}"]).steps == 1


def test_processes_are_not_started_by_those_that_torchrun_has_started(data, model, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match=r"trainer\.processes=2: torchrun has started processes; leave it out"):
        train_command(options(data, model, tmp_path / "run", "trainer.processes=2"))
