import json
import logging

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")

from alfworld_sft.errors import UserError
from alfworld_sft.train import log as logs
from alfworld_sft.train.log import RunLog, duration, keep_lines_until, require_loggers
from alfworld_sft.train.model.flops import FlopCounter, peak_flops


def open_log(folder, loggers=(), done=0, total=4):
    return RunLog(folder, loggers, project="p", experiment="e", config={"a": 1}, done=done, total=total)


def test_each_step_is_a_line_of_json_whatever_else_is_logged(tmp_path):
    log = open_log(tmp_path)
    log.step(1, {"loss": 0.1 + 0.2, "lr": 1e-4, "grad_norm": None})
    log.test(1, {"val/loss": 2.0})
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1, "loss": 0.1 + 0.2, "lr": 1e-4, "grad_norm": None}, {"step": 1, "val/loss": 2.0}]


def test_a_loss_that_is_no_number_is_null_in_the_file(tmp_path):
    log = open_log(tmp_path)
    log.step(1, {"loss": float("nan"), "grad_norm": float("inf")})
    log.close()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": null, "grad_norm": null}\n'


def test_the_console_shows_progress_loss_speed_and_time_left(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    log = open_log(tmp_path, ["console"])
    log.step(1, {"epoch": 0.25, "loss": 1.5, "lr": 1e-4, "grad_norm": 0.5, "tokens_per_s": 61234.0, "mfu": 0.41})
    log.close()
    line = caplog.messages[0]
    assert line.startswith(
        "step 1/4 (25%)  epoch 0.25  loss 1.5000  lr 1.00e-04  grad_norm 0.500  61,234 tokens/s  MFU 41.0%"
    )
    assert line.endswith("left")


def test_a_resumed_log_forgets_what_is_done_again_and_a_torn_line(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step": 4, "lo')
    keep_lines_until(file, 2)
    assert file.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_tensorboard_gets_the_scalars(tmp_path):
    pytest.importorskip("tensorboard")
    log = open_log(tmp_path, ["tensorboard"])
    log.step(1, {"loss": 1.5})
    log.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 1.5)]


def test_a_logger_that_is_not_installed_is_named_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(logs, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"trainer\.logger names wandb, which is not installed: pip install wandb"):
        require_loggers(["console", "wandb"])
    require_loggers(["console"])


def test_the_peak_is_known_by_the_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H200")
    assert peak_flops(torch.device("cuda")) == 989e12
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Somebody's 1")
    assert peak_flops(torch.device("cuda")) is None
    assert peak_flops(torch.device("cpu")) is None


def test_flop_are_four_a_frozen_weight_and_six_a_trained_one():
    class Config:
        hidden_size, num_attention_heads, num_hidden_layers, head_dim = 8, 2, 3, 4

    model = torch.nn.Sequential(torch.nn.Linear(10, 10, bias=False), torch.nn.Linear(10, 5, bias=False))
    model[0].requires_grad_(False)
    count = FlopCounter(model, Config())
    assert count.of([1]) == 4 * 150 + 2 * 50 + 6 * 3 * 8
    assert count.of([3, 4]) == 7 * (4 * 150 + 2 * 50) + 25 * 6 * 3 * 8


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (65, "1 min 05 s"), (3725, "1 h 02 min")])
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text
