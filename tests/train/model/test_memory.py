"""The tokens of a pass on a CPU follow from what the model's activations take."""

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")

from alfworld_sft.models.load import load_model
from alfworld_sft.train.model import memory
from alfworld_sft.train.model.attention import PACKED
from alfworld_sft.train.model.memory import LEAST, MOST, activation_bytes, tokens_per_pass
from alfworld_sft.train.model.prepare import LossModule, prepare
from tests.train.helpers_loop import write_model


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    folder = write_model(tmp_path_factory.mktemp("models") / "tiny")
    model = load_model(str(folder), torch.float32, torch.device("cpu"), PACKED)
    prepare(model, gradient_checkpointing=False, compile_layers=False)
    return LossModule(model)


def test_activations_grow_with_the_tokens_and_weights_are_not_among_them(module):
    short, long, longer = (activation_bytes(module, tokens) for tokens in (64, 128, 192))
    assert longer - long == pytest.approx(long - short, rel=0.05)
    config = module.model.config
    assert long - short > 64 * 4 * config.num_hidden_layers * config.intermediate_size * 2  # gate and up
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    try:
        assert activation_bytes(module, 64) == 0  # nothing is trained, nothing is kept
    finally:
        module.requires_grad_(True)


def test_a_pass_takes_as_many_tokens_as_the_bound_allows(module, monkeypatch):
    per_token = (activation_bytes(module, 128) - activation_bytes(module, 64)) / 64
    monkeypatch.setattr(memory, "ACTIVATION_BYTES", int(1000 * per_token) + 1)
    assert tokens_per_pass(module) == 1000
    monkeypatch.setattr(memory, "ACTIVATION_BYTES", 1)
    assert tokens_per_pass(module) == LEAST
    monkeypatch.setattr(memory, "ACTIVATION_BYTES", 2**50)
    assert tokens_per_pass(module) == MOST
