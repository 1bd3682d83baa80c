"""Attention on a CPU gives what transformers' gives, whatever is padded."""

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="local models are an extra: pip install 'alfworld-sft[train]'")

from transformers.integrations.sdpa_attention import sdpa_attention_forward

from alfworld_sft.policies.llm import cpu_attention
from alfworld_sft.policies.llm.cpu_attention import GROUPED, grouped_attention, read_keys_once

TOKENS = 24


def layer(groups):
    return SimpleNamespace(num_key_value_groups=groups, is_causal=True)


def tensors(groups, new, kv_heads=2, width=8):
    torch.manual_seed(0)
    query = torch.randn(3, kv_heads * groups, new, width)
    key, value = (torch.randn(3, kv_heads, TOKENS, width) for _ in range(2))
    return query, key, value


def mask_of(new, starts, gap):
    """Rows of padding, past, a gap of padding in the last one, and new tokens, which see what is before them."""
    seen = torch.ones(3, 1, new, TOKENS, dtype=torch.bool).tril(TOKENS - new)
    for row, start in enumerate(starts):
        seen[row, :, :, :start] = False
    seen[-1, :, :, TOKENS - new - gap : TOKENS - new] = False
    return seen


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("new", [1, 4, 12])
@pytest.mark.parametrize("starts", [(0, 0, 0), (0, 1, 2), (0, 6, 9)])
def test_it_is_that_of_transformers(groups, new, starts, monkeypatch):
    monkeypatch.setattr(cpu_attention, "_CALL", 32)  # two tokens
    monkeypatch.setattr(cpu_attention, "_FEW", 30)  # with three heads to a key, 36 queries are many
    given, mask = tensors(groups, new), mask_of(new, starts, gap=3)
    ours, _ = grouped_attention(layer(groups), *given, mask, scaling=0.3)
    theirs, _ = sdpa_attention_forward(layer(groups), *given, mask, scaling=0.3)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("new", [1, TOKENS])
def test_without_a_mask_too(new):
    given = tensors(3, new)
    ours, _ = grouped_attention(layer(3), *given, None)
    theirs, _ = sdpa_attention_forward(layer(3), *given, None)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_mask_of_numbers_is_left_to_transformers():
    given, mask = tensors(3, 2), mask_of(2, (0, 4, 9), gap=0)
    numbers = torch.zeros(mask.shape).masked_fill(~mask, -1e9)
    ours, _ = grouped_attention(layer(3), *given, numbers)
    theirs, _ = sdpa_attention_forward(layer(3), *given, mask)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("starts", "calls"), [((0, 1, 2), 1), ((0, 9, 17), 3)])
def test_keys_are_not_repeated_and_padding_is_not_read(starts, calls, monkeypatch):
    monkeypatch.setattr(cpu_attention, "_CALL", 32)
    read, attend = [], cpu_attention.scaled_dot_product_attention
    monkeypatch.setattr(
        cpu_attention,
        "scaled_dot_product_attention",
        lambda query, key, *rest, **more: read.append(key.shape) or attend(query, key, *rest, **more),
    )
    grouped_attention(layer(3), *tensors(3, 2), mask_of(2, starts, gap=0))
    assert len(read) == calls
    assert {heads for _, heads, _, _ in read} == {2}
    if calls > 1:
        assert [tokens for *_, tokens, _ in read] == [TOKENS - start for start in starts]


@pytest.mark.parametrize(
    ("device", "attention", "then"), [("cpu", "sdpa", GROUPED), ("cpu", "eager", "eager"), ("cuda", "sdpa", "sdpa")]
)
def test_only_pytorch_s_attention_on_a_cpu_is_replaced(device, attention, then):
    config = SimpleNamespace(_attn_implementation=attention)
    model = SimpleNamespace(
        device=torch.device(device),
        config=config,
        set_attn_implementation=lambda name: setattr(config, "_attn_implementation", name),
    )
    assert read_keys_once(model) is model
    assert config._attn_implementation == then
