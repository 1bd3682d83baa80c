"""Objectives beside the likelihood: equal to TRL's or to autograd, and taken from the config to the last step."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")

from alfworld_sft.models.load import load_model, load_tokenizer
from alfworld_sft.models.stamp import CheckpointError
from alfworld_sft.train.checkpoint import Checkpoint, Position, check_same_run
from alfworld_sft.train.data.pack import IGNORED
from alfworld_sft.train.model.attention import PACKED, Segments
from alfworld_sft.train.model.loss import weighted_loss
from alfworld_sft.train.model.objectives import ClippedLikelihood, DynamicFineTuning, Likelihood, Objective
from alfworld_sft.train.model.policy_loss import PolicyLoss, PolicyTokens, policy_sums
from alfworld_sft.train.model.prepare import LossModule
from tests.train.helpers_loop import losses, metrics, options, run, write_dataset, write_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny")


def example(tokens: int = 12, d: int = 6, words: int = 9) -> tuple[Any, Any, Any, Any]:
    """Return hidden (1, tokens, d), weight, labels (1, tokens) and weights in float64; a fifth is ignored."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(1, tokens, d, generator=generator, dtype=torch.float64).requires_grad_()
    weight = torch.randn(words, d, generator=generator, dtype=torch.float64).requires_grad_()
    labels = torch.randint(0, words, (1, tokens), generator=generator)
    labels[0, ::5] = IGNORED
    return hidden, weight, labels, torch.rand(1, tokens, generator=generator, dtype=torch.float64) + 0.1


def logprobs(hidden: Any, weight: Any, labels: Any) -> Any:
    """Return the log-probabilities of the labels, with a graph; anything where ignored."""
    return (hidden @ weight.T).log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None]).squeeze(-1)


def gradients(loss: Any, *leaves: Any) -> list[Any]:
    return [grad.clone() for grad in torch.autograd.grad(loss, leaves)]


def as_written(kind: str, logp: Any) -> Any:
    """Return each objective as its paper writes it, for autograd."""
    p = logp.exp()
    if kind == "dft":
        return -p.detach() * logp
    # The gradient of p over the larger of p and the threshold, TrSFT's; integrated, so that it has a value.
    return torch.where(p < 0.2, 1 - p / 0.2 - torch.tensor(0.2, dtype=p.dtype).log(), -logp)


@pytest.mark.parametrize(("kind", "objective"), [("dft", DynamicFineTuning()), ("clip", ClippedLikelihood(0.2))])
def test_value_and_gradients_are_autograds(kind: str, objective: Objective) -> None:
    hidden, weight, labels, weights = example()
    logp = logprobs(hidden, weight, labels)
    expected = (as_written(kind, logp) * weights * (labels != IGNORED)).sum()
    found = weighted_loss(hidden, weight, labels, weights, objective=objective, chunk=5)
    torch.testing.assert_close(found.loss, expected, rtol=1e-12, atol=0)
    for mine, theirs in zip(gradients(found.loss, hidden, weight), gradients(expected, hidden, weight), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(found.nll, torch.where(labels != IGNORED, -logp, 0).detach(), rtol=1e-12, atol=1e-14)


def test_clipping_bounds_the_gradient_of_improbable_tokens_only() -> None:
    p = torch.tensor([0.001, 0.05, 0.1, 0.5], dtype=torch.float64)
    loss, slope = ClippedLikelihood(0.1)(p.log(), torch.arange(4))
    assert (slope / p).tolist() == pytest.approx([-10, -10, -10, -2])  # d loss / d p
    assert loss[2:].tolist() == (-p[2:].log()).tolist()
    assert loss[:2].tolist() < (-p[:2].log()).tolist()


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_the_policy_loss_has_the_gradient_of_its_value(level: Any, beta: float) -> None:
    """Finite differences see what the chunks and the two passes over the output layer add up to."""
    hidden, weight, labels, weights = example()
    generator = torch.Generator().manual_seed(1)
    near = logprobs(hidden, weight, labels).detach()
    known = PolicyTokens(
        sampled=near + 0.4 * torch.randn(near.shape, generator=generator, dtype=near.dtype),
        advantages=torch.randn(near.shape, generator=generator, dtype=near.dtype),
        sequences=torch.tensor([[0] * 7 + [1] * 5]),
        reference=near + 0.4 * torch.randn(near.shape, generator=generator, dtype=near.dtype),
    )
    weights = torch.ones_like(weights) / 7  # equal within a sequence
    objective = PolicyLoss(known, level=level, beta=beta)

    def loss(h: Any, w: Any) -> Any:
        return weighted_loss(h, w, labels, weights, objective=objective, chunk=4).loss

    assert torch.autograd.gradcheck(loss, (hidden, weight))


def test_entropy_is_that_of_the_logits() -> None:
    hidden, weight, labels, weights = example()
    found = weighted_loss(hidden, weight, labels, weights, entropy=True, chunk=5)
    logp = (hidden @ weight.T).log_softmax(-1)
    expected = torch.where(labels != IGNORED, -(logp.exp() * logp).sum(-1), 0)
    torch.testing.assert_close(found.entropy, expected.detach(), rtol=1e-12, atol=1e-14)
    with torch.no_grad():
        again = weighted_loss(hidden, weight, labels, weights, entropy=True)
    torch.testing.assert_close(again.entropy, found.entropy)
    assert weighted_loss(hidden, weight, labels, weights).entropy is None


def test_figures_count_the_labelled_tokens_only() -> None:
    hidden, weight, labels, weights = example()
    near = logprobs(hidden, weight, labels).detach()
    objective = PolicyLoss(PolicyTokens(near - 1, -torch.ones_like(near), reference=near + 1))
    found = weighted_loss(hidden, weight, labels, weights, objective=objective, entropy=True)
    few = labels.clone()
    few[0, 3:] = IGNORED  # and the first is ignored
    sums = policy_sums(objective, few, found)
    assert found.entropy is not None
    assert (
        sums
        == pytest.approx(
            {
                "tokens": 2,
                "clipped_low": 0,
                "clipped_high": 0,  # a ratio above 1 is clipped where the advantage is positive only
                "kl": 2 * (math.e - 2),
                "entropy": float(found.entropy[0, 1:3].sum()),
                "kl_reference": 2 * math.e * (math.e - 2),
            }
        )
    )
    better = replace(objective, tokens=objective.tokens._replace(advantages=torch.ones_like(near)))
    assert policy_sums(better, few, found)["clipped_high"] == 2


def test_checkpoints_from_before_objectives_were_trained_by_likelihood() -> None:
    old = Checkpoint(Path("global_step_1"), Position(1, 0, 1), {"trainer.seed": 1}, {})
    check_same_run(old, {"trainer.seed": 1, "loss.kind": "nll"})
    with pytest.raises(CheckpointError, match=r"loss\.kind=nll, not dft"):
        check_same_run(old, {"trainer.seed": 1, "loss.kind": "dft"})


def test_a_temperature_divides_the_logits(model: Path) -> None:
    causal = load_model(str(model), torch.float32, CPU, PACKED)
    ids = torch.arange(5, 25)[None]
    labels = ids.roll(-1)
    labels[0, -1] = IGNORED
    fields = (ids, torch.arange(20)[None], labels, torch.ones(1, 20), Segments.of(torch.tensor([0, 20]), CPU))
    with torch.no_grad():
        hot = LossModule(causal, temperature=2.0)(*fields).nll
        logits = load_model(str(model), torch.float32, CPU, "sdpa")(input_ids=ids).logits[0, :-1] / 2
    expected = torch.nn.functional.cross_entropy(logits, labels[0, :-1], reduction="none")
    torch.testing.assert_close(hot[0, :-1], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["nll", "dft"])
def test_loss_and_gradient_are_those_of_trls_sft_trainer(model: Path, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("trl", reason="the oracle is TRL: pip install trl")
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 50, (3, 20), generator=generator)
    trained = (torch.rand(3, 20, generator=generator) < 0.6).long()
    trained[:, 0] = 0  # nothing predicts it
    config = SFTConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to=[], loss_type=kind, per_device_train_batch_size=3
    )
    data = Dataset.from_dict({"input_ids": ids.tolist()})
    trainer = SFTTrainer(str(model), args=config, train_dataset=data, processing_class=load_tokenizer(str(model)))
    trainer.model.train()
    batch = trainer.data_collator([trainer.train_dataset[row] for row in range(3)])
    batch["labels"] = torch.where(trained == 1, ids, IGNORED)
    theirs = trainer.compute_loss(trainer.model, batch)
    theirs.backward()

    mine = load_model(str(model), torch.float32, CPU, PACKED).train()
    labels = batch["labels"].roll(-1, 1)
    weights = torch.full((1, 60), 1 / int(trained.sum()))
    positions = torch.arange(20).repeat(3)[None]
    objective = DynamicFineTuning() if kind == "dft" else Likelihood()
    segments = Segments.of(torch.tensor([0, 20, 40, 60]), CPU)
    found = LossModule(mine)(ids.view(1, -1), positions, labels.view(1, -1), weights, segments, objective)
    found.loss.backward()
    assert found.loss.item() == pytest.approx(theirs.item(), rel=1e-6)
    names = dict(trainer.model.named_parameters())
    for name, parameter in mine.named_parameters():
        exact = names[name].grad
        torch.testing.assert_close(parameter.grad, exact, rtol=1e-5, atol=min(1e-6, 2e-5 * float(exact.abs().max())))


def test_a_run_trains_by_its_objective_and_is_validated_by_likelihood(model: Path, tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    for kind in ("nll", "dft", "clip"):
        run(options(data, model, tmp_path / kind, f"loss.kind={kind}", "trainer.total_training_steps=3"))
    first = {kind: losses(tmp_path / kind)[0][1] for kind in ("nll", "dft", "clip")}
    assert first["dft"] < first["clip"] < first["nll"]
    for kind in ("dft", "clip"):
        validated = [line["val/loss"] for line in metrics(tmp_path / kind) if "val/loss" in line]
        assert validated[-1] > first["clip"]  # of a model that has hardly learned: the likelihood's size


def test_a_run_goes_on_with_its_own_objective_only(model: Path, tmp_path: Path) -> None:
    data, out = write_dataset(tmp_path / "data"), tmp_path / "out"
    steps = "trainer.total_training_steps=2"
    run(options(data, model, out, "loss.kind=clip", "loss.clip_below=0.3", steps))
    with pytest.raises(CheckpointError, match=r"made with loss\.kind=clip loss\.clip_below=0\.3, not nll;"):
        run(options(data, model, out, steps))
    with pytest.raises(CheckpointError, match=r"loss\.clip_below=0\.3, not clip loss\.clip_below=0\.1;"):
        run(options(data, model, out, "loss.kind=clip", steps))
    run(options(data, model, out, "loss.kind=clip", "loss.clip_below=0.3", "trainer.total_training_steps=3"))
    assert [step for step, *_ in losses(out)] == [1, 2, 3]
