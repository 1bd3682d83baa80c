"""The tokens of a pass on a CPU follow from what the model's activations take."""

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")

from alfworld_sft.models.load import load_model
from alfworld_sft.train.model import memory
from alfworld_sft.train.model.attention import PACKED, Segments
from alfworld_sft.train.model.memory import LEAST, MOST, activation_bytes, pass_limits
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
    assert pass_limits(module).together == 1000
    monkeypatch.setattr(memory, "ACTIVATION_BYTES", 1)
    assert pass_limits(module).together == LEAST
    monkeypatch.setattr(memory, "ACTIVATION_BYTES", 2**50)
    assert pass_limits(module).together == MOST


def test_a_row_that_exceeds_the_second_bound_is_recomputed(tmp_path, monkeypatch):
    """Its gradient is the same to the bit, its activations are few, and a shorter row is not slowed down."""
    model = load_model(str(write_model(tmp_path / "tiny")), torch.float32, torch.device("cpu"), PACKED)
    prepare(model, gradient_checkpointing=False, compile_layers=False)
    module = LossModule(model)
    kept = activation_bytes(module, 64), activation_bytes(module, 192)
    before = gradient(module, 64), gradient(module, 192)
    monkeypatch.setattr(memory, "KEPT_BYTES", int(100 * (kept[1] - kept[0]) / 128))
    module.recompute_over(pass_limits(module).kept)
    assert activation_bytes(module, 64) == kept[0]
    assert activation_bytes(module, 192) < kept[1] / 2
    assert torch.equal(gradient(module, 64), before[0])
    assert torch.equal(gradient(module, 192), before[1])


def gradient(module, tokens):
    module.zero_grad()
    ids = torch.arange(tokens)[None] % 50
    labels = ids.roll(-1).index_fill(1, torch.tensor([tokens - 1]), -100)
    segments = Segments.of(torch.tensor([0, tokens]), torch.device("cpu"))
    module(ids, torch.arange(tokens)[None], labels, torch.ones(1, tokens), segments).loss.backward()
    return torch.cat([parameter.grad.flatten() for parameter in module.parameters()])
