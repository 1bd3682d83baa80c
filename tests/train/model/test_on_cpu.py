"""A layer's operations on a CPU: equal to PyTorch's own, in values and gradients, without work for frozen weights."""

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")

from torch import nn
from torch.nn import functional

from alfworld_sft.models import products
from alfworld_sft.models.load import load_model
from alfworld_sft.models.products import fast_products, mkl_is_slow
from alfworld_sft.train.config import build_train_config
from alfworld_sft.train.model import attention, on_cpu, trainable
from alfworld_sft.train.model.attention import PACKED, Segments, packed_attention
from alfworld_sft.train.model.on_cpu import rms_norm, speed_up
from alfworld_sft.train.model.prepare import LossModule
from alfworld_sft.train.model.trainable import compute_dtype
from alfworld_sft.train.tiny import TinyOptions, make_tiny_model


class GatedBlock(nn.Module):
    """The feed-forward block of the Llama family."""

    def __init__(self, bias=False):
        super().__init__()
        torch.manual_seed(0)
        self.gate_proj, self.up_proj = (nn.Linear(24, 40, bias=bias) for _ in range(2))
        self.down_proj = nn.Linear(40, 24, bias=bias)
        self.act_fn = nn.SiLU()

    def forward(self, x):
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


def gradients(module, x):
    """Return the output of a module, and the gradients of its input and weights, for an uneven loss."""
    x = x.clone().requires_grad_()
    out = module(x)
    (out * torch.linspace(-1, 2, out.numel()).view(out.shape)).sum().backward()
    return [out.detach(), x.grad, *(p.grad for p in module.parameters())]


@pytest.mark.parametrize("bias", [False, True])
def test_a_block_has_the_plain_values_and_gradients(bias):
    x = torch.randn(2, 7, 24, generator=torch.Generator().manual_seed(1))
    plain, fast = GatedBlock(bias), GatedBlock(bias)
    speed_up(fast)
    for found, expected in zip(gradients(fast, x), gradients(plain, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_norm_has_the_plain_values_and_gradients():
    x = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(1)) * 3
    found, expected = ([x.clone().requires_grad_(), torch.linspace(0.5, 2, 16).requires_grad_()] for _ in range(2))
    outs = rms_norm(found[0], found[1], 1e-2), functional.rms_norm(expected[0], (16,), expected[1], 1e-2)
    torch.testing.assert_close(*outs, rtol=1e-5, atol=1e-6)
    for out in outs:
        out.pow(3).sum().backward()
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-4)


def test_no_gradient_is_computed_where_nothing_is_trained(monkeypatch):
    block = GatedBlock()
    speed_up(block)
    for layer in (block.gate_proj, block.up_proj):
        layer.requires_grad_(False)
    counted = []
    monkeypatch.setattr(on_cpu, "fast_products", lambda device: counted.append(1) or fast_products(device))
    out = block(torch.randn(4, 24))
    assert len(counted) == 3
    out.sum().backward()
    assert len(counted) == 4  # the last layer's weight only: neither its input nor the layers below
    assert block.down_proj.weight.grad is not None
    assert block.gate_proj.weight.grad is None


def test_autocast_is_respected():
    block = GatedBlock()
    speed_up(block)
    with torch.autocast("cpu", torch.bfloat16):
        assert block(torch.randn(4, 24)).dtype == torch.bfloat16


def test_products_stay_float32_and_the_setting_is_restored():
    a, b = (torch.randn(300, 300, generator=torch.Generator().manual_seed(i)) for i in range(2))
    before = torch.get_float32_matmul_precision()
    with fast_products(torch.device("cpu")):
        product = a @ b
        assert (torch.get_float32_matmul_precision() == "medium") == mkl_is_slow()
    assert torch.get_float32_matmul_precision() == before
    assert (product.double() - a.double() @ b.double()).abs().max() < 1e-3  # bfloat16 would be 0.1 apart


def test_products_of_a_gpu_keep_their_digits(monkeypatch):
    monkeypatch.setattr(products, "mkl_is_slow", lambda: True)
    before = torch.get_float32_matmul_precision()
    with fast_products(torch.device("cuda")):
        assert torch.get_float32_matmul_precision() == before


def losses(module, ids, *lengths):
    """Return the losses of sequences that share a pass."""
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    segments = Segments.of(torch.tensor([0, *lengths]).cumsum(0), torch.device("cpu"))
    return module(ids, positions, ids, torch.ones(ids.shape), segments)


@pytest.mark.parametrize("slow", [True, False])
def test_passes_of_few_sizes_have_the_loss_and_gradients_of_their_own_tokens(slow, tmp_path, monkeypatch):
    monkeypatch.setattr(on_cpu, "mkl_is_slow", lambda: slow)
    make_tiny_model(tmp_path / "model", ["go to desk 1"], TinyOptions(width=32, head_dim=16, layers=2))
    module = LossModule(load_model(str(tmp_path / "model"), torch.float32, torch.device("cpu"), PACKED))
    sizes = []
    first_norm = module.model.model.layers[0].input_layernorm
    first_norm.register_forward_pre_hook(lambda _, given: sizes.append(given[0].shape[1]))
    ids = torch.arange(90).remainder(5)[None]
    together = losses(module, ids, 50, 40)
    assert sizes == [128 if slow else 90]
    assert together.nll.shape == (1, 90)

    together.loss.backward()
    found = [weight.grad.clone() for weight in module.parameters()]
    module.zero_grad()
    apart = losses(module, ids[:, :50], 50).loss + losses(module, ids[:, 50:], 40).loss
    torch.testing.assert_close(together.loss, apart, rtol=1e-5, atol=1e-6)
    apart.backward()
    for grad, weight in zip(found, module.parameters(), strict=True):
        torch.testing.assert_close(grad, weight.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("vendor", "slow"), [("AuthenticAMD", True), ("GenuineIntel", False)])
def test_mkl_is_slow_on_amd(vendor, slow, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(f"vendor_id\t: {vendor}\n")
    monkeypatch.setattr(products, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert mkl_is_slow.__wrapped__() is slow


@pytest.mark.parametrize(
    ("bfloat16", "rank", "width", "chosen"),
    [
        (True, 8, 512, torch.bfloat16),
        (True, 8, 256, torch.float32),
        (True, 0, 512, torch.float32),
        (False, 8, 512, torch.float32),
    ],
)
def test_wide_models_get_adapters_in_bfloat16_where_the_cpu_multiplies_it(bfloat16, rank, width, chosen, monkeypatch):
    monkeypatch.setattr(trainable, "multiplies_bfloat16", lambda: bfloat16)
    monkeypatch.setattr(trainable, "load_config", lambda _: SimpleNamespace(hidden_size=width))
    config = build_train_config([f"model.lora_rank={rank}"])
    assert compute_dtype(config, torch.device("cpu")) == chosen
    assert compute_dtype(build_train_config(["model.dtype=float32"]), torch.device("cpu")) == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_wide_model_attends_in_float32_where_that_is_faster(dtype, monkeypatch):
    monkeypatch.setattr(attention, "WIDE", 32)
    monkeypatch.setattr(attention, "mkl_is_slow", lambda: True)
    torch.manual_seed(0)
    given = [torch.randn(1, heads, 12, 8).to(dtype).requires_grad_() for heads in (4, 2, 2)]
    exact = [each.detach().double().requires_grad_() for each in given]
    segments = Segments.of(torch.tensor([0, 5, 12]), torch.device("cpu"))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        found, _ = packed_attention(None, *given, None, segments=segments)
    assert found.dtype == dtype
    expected = []
    for part in (slice(0, 5), slice(5, 12)):
        query, key, value = (each[:, :, part] for each in exact)
        alone = functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        expected.append(alone.transpose(1, 2))
    rounding = {"rtol": 0, "atol": 1e-6 if dtype == torch.float32 else 8e-3}  # of the result only
    torch.testing.assert_close(found.double(), torch.cat(expected, 1), **rounding)
    found.double().pow(2).sum().backward()
    torch.cat(expected, 1).pow(2).sum().backward()
    for ours, true in zip(given, exact, strict=True):
        torch.testing.assert_close(ours.grad.double(), true.grad, rtol=0, atol=20 * rounding["atol"])
