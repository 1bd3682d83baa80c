"""trainer.processes=auto starts as many as there are cores, and as memory holds."""

import logging
import os

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")

from alfworld_sft import system
from alfworld_sft.errors import UserError
from alfworld_sft.models.load import empty_model, load_model
from alfworld_sft.system import usable_cores
from alfworld_sft.train import processes
from alfworld_sft.train.config import build_train_config
from alfworld_sft.train.data.inputs import shares_of_step
from alfworld_sft.train.model.attention import PACKED
from alfworld_sft.train.model.lora import add_lora
from alfworld_sft.train.model.memory import activation_bytes
from alfworld_sft.train.model.prepare import LossModule, prepare
from alfworld_sft.train.processes import KEPT_PER_WIDTH, count_processes, process_bytes
from tests.train.helpers_loop import write_dataset, write_model

GIB = 2**30


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def eight_cores(monkeypatch, tmp_path):
    monkeypatch.setattr(system, "CPU_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def config_of(model, *words):
    return build_train_config(["data.train_files=data", f"model.path={model}", "trainer.processes=auto", *words])


def size_of(model):
    return sum(weights.numel() for weights in model.parameters())


def test_auto_starts_a_process_per_gpu_or_per_core_while_each_has_a_row(monkeypatch, model, eight_cores):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(processes, "available_memory", lambda: None)
    assert count_processes(config_of(model), 16) == 3
    assert count_processes(config_of(model, "trainer.device=cpu"), 16) == 8
    assert count_processes(config_of(model, "trainer.device=cpu"), 5) == 5
    assert count_processes(config_of(model, "trainer.device=cpu", "trainer.processes=2"), 1) == 2


@pytest.mark.parametrize(
    ("words", "shares"),
    [
        ((), 16),
        (("data.multiturn.enable=true",), 4),  # each of the episodes has four rows
        (("data.multiturn.enable=true", "worldmodel.next_state_rows=1"), 10),  # eight rows, and eight of these
        (("data.multiturn.enable=true", "data.multiturn.fold=false"), 16),
        (("data.multiturn.enable=true", "data.train_batch_size=2"), 1),
    ],
)
def test_a_step_has_as_many_shares_as_sequences(tmp_path, words, shares):
    data = write_dataset(tmp_path / "data", train_episodes=20)
    config = build_train_config([f"data.train_files={data}", "data.train_batch_size=16", *words])
    assert shares_of_step(config) == shares


def test_auto_starts_no_more_processes_than_memory_holds(monkeypatch, model, eight_cores, caplog):
    config = config_of(model, "trainer.device=cpu")
    each = process_bytes(config)
    for available, started in ((100 * each, 8), (8 * each, 8), (4 * each - 1, 3), (each - 1, 1)):
        monkeypatch.setattr(processes, "available_memory", lambda: available)  # noqa: B023 - called in this round
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert count_processes(config, 16) == started
        assert len(caplog.messages) == (started < 8)
    assert caplog.messages[0].startswith("trainer.processes=auto: 1 process for 8 cores; each may need 1.1 GiB, and ")


def test_a_model_that_is_not_there_is_said_before_a_process_starts(tmp_path, eight_cores):
    with pytest.raises(UserError, match="missing"):
        count_processes(config_of(tmp_path / "missing", "trainer.device=cpu"), 16)


def test_a_model_of_another_kind_is_refused_in_one_line(tmp_path, eight_cores):
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(UserError, match=r"(?i)clip") as refused:
        count_processes(config_of(tmp_path, "trainer.device=cpu"), 16)
    assert len(str(refused.value).splitlines()) == 1


def test_parameters_are_counted_without_weights(model):
    loaded = load_model(str(model), torch.float32, torch.device("cpu"))
    (model / "model.safetensors").rename(model / "aside")
    try:
        assert size_of(empty_model(str(model))) == size_of(loaded)
    finally:
        (model / "aside").rename(model / "model.safetensors")


def test_longer_rows_need_more_up_to_the_bound_from_which_they_are_recomputed(model):
    sizes = [process_bytes(config_of(model, f"data.max_length={length}")) for length in (10**4, 10**5, 10**6, 10**7)]
    assert sizes[0] < sizes[1] < sizes[2] == sizes[3] < 14 * GIB


def test_what_a_layer_keeps_of_a_token_is_what_is_measured(model):
    loaded = load_model(str(model), torch.float32, torch.device("cpu"), PACKED)
    adapted = add_lora(loaded, 32, 16, "all-linear", autocast=False)
    prepare(adapted, gradient_checkpointing=False, compile_layers=False)
    module = LossModule(adapted)
    kept = (activation_bytes(module, 256) - activation_bytes(module, 128)) / 128
    width = 3 * loaded.config.hidden_size + loaded.config.intermediate_size
    estimate = KEPT_PER_WIDTH[torch.float32] * width * loaded.config.num_hidden_layers
    assert 0.6 * estimate < kept < 1.3 * estimate


@pytest.mark.parametrize(("quota", "cores"), [("250000 100000", 2), ("max 100000", 8), ("50000 100000", 1)])
def test_a_container_limits_the_cores(quota, cores, monkeypatch, tmp_path):
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(system, "CPU_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert usable_cores() == cores
