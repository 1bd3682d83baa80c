"""Cross-entropy in chunks: equal to the plain one, never whole in memory, for tied heads too."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch", reason="training is not installed (pip install -e '.[train]')")

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from alfworld_sft.train.data.pack import IGNORED
from alfworld_sft.train.model.loss import weighted_loss

torch.set_num_threads(1)


def example(tokens: int = 50, d: int = 16, words: int = 97, dtype: Any = torch.float32) -> Any:
    """Return hidden (2, tokens, d), weight, labels (2, tokens) and weights; a third of the labels are ignored."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, tokens, d, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(words, d, generator=generator, dtype=dtype).requires_grad_()
    labels = torch.randint(0, words, (2, tokens), generator=generator)
    labels[torch.rand(2, tokens, generator=generator) < 0.33] = IGNORED
    weights = torch.rand(2, tokens, generator=generator) * 3
    return hidden, weight, labels, weights


def plain(hidden: Any, weight: Any, labels: Any, weights: Any) -> Any:
    logits = torch.nn.functional.linear(hidden, weight)
    nll = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
    ).view(labels.shape)
    return (nll * weights).sum(), nll, (logits.argmax(-1) == labels) & (labels != IGNORED)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_loss_and_gradients_are_those_of_plain_cross_entropy(chunk: int) -> None:
    hidden, weight, labels, weights = example()
    leaves = [hidden, weight]
    expected, nll, correct = plain(hidden, weight, labels, weights)
    wanted = torch.autograd.grad(3 * expected, leaves)
    found = weighted_loss(hidden, weight, labels, weights, chunk=chunk)
    torch.testing.assert_close(found.loss, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.nll, nll, rtol=1e-5, atol=1e-6)
    assert found.correct.tolist() == correct.tolist()
    for mine, theirs in zip(torch.autograd.grad(3 * found.loss, leaves), wanted, strict=True):
        assert ((mine - theirs).norm() / theirs.norm()).item() < 1e-6


def test_gradients_are_exact_in_float64() -> None:
    hidden, weight, labels, weights = example(5, 4, 7, torch.float64)

    def loss(h: Any, w: Any) -> Any:
        return weighted_loss(h, w, labels, weights.double(), chunk=3).loss

    assert torch.autograd.gradcheck(loss, (hidden, weight))


def test_a_frozen_head_gets_no_gradient() -> None:
    hidden, weight, labels, weights = example()
    weight = weight.detach()
    weighted_loss(hidden, weight, labels, weights).loss.backward()
    assert weight.grad is None
    assert hidden.grad is not None


def test_without_gradients_only_the_numbers_come() -> None:
    hidden, weight, labels, weights = example()
    with torch.no_grad():
        found = weighted_loss(hidden, weight, labels, weights)
    torch.testing.assert_close(found.loss, plain(hidden, weight, labels, weights)[0])
    assert not found.loss.requires_grad


def test_no_label_at_all_is_no_loss_and_no_gradient() -> None:
    hidden, weight, labels, weights = example()
    found = weighted_loss(hidden, weight, torch.full_like(labels, IGNORED), weights)
    found.loss.backward()
    assert (found.loss.item(), hidden.grad.abs().sum().item(), weight.grad.abs().sum().item()) == (0, 0, 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_low_precision_is_normalised_in_float32(dtype: Any) -> None:
    hidden, weight, labels, weights = example()
    expected = plain(hidden, weight, labels, weights)[0]
    low_hidden, low_weight = (x.detach().to(dtype).requires_grad_() for x in (hidden, weight))
    found = weighted_loss(low_hidden, low_weight, labels, weights)
    found.loss.backward()
    assert found.loss.dtype == torch.float32
    assert abs(found.loss.item() / expected.item() - 1) < 0.01
    assert (low_hidden.grad.dtype, low_weight.grad.dtype) == (dtype, dtype)


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that an operation made."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return made


def test_the_logits_are_never_whole_in_memory() -> None:
    hidden, weight, labels, weights = example(tokens=512, d=8, words=4000)
    with Largest() as seen:
        weighted_loss(hidden, weight, labels, weights, chunk=32).loss.backward()
    assert seen.numbers <= 32 * 4000
    with Largest() as seen:
        plain(hidden, weight, labels, weights)
    assert seen.numbers >= 1024 * 4000  # the measure measures


def test_a_tied_head_adds_its_gradient_to_the_embedding() -> None:
    _, weight, labels, weights = example()
    head = torch.nn.Linear(16, 97, bias=False)
    head.weight = torch.nn.Parameter(weight.detach())

    def hidden() -> Any:
        return torch.tanh(torch.nn.functional.embedding(labels.clamp(min=0), head.weight))

    (expected,) = torch.autograd.grad(plain(hidden(), head.weight, labels, weights)[0], [head.weight])
    found = weighted_loss(hidden(), head.weight, labels, weights, chunk=9)
    found.loss.backward()
    assert ((head.weight.grad - expected).norm() / expected.norm()).item() < 1e-6
