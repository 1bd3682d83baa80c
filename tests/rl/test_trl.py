"""On the same rollouts, advantages, losses and gradients are those of TRL's GRPOTrainer, as it computes them itself."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("trl", reason="the oracle is TRL: pip install trl")

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from alfworld_sft.models.load import load_model, load_tokenizer
from alfworld_sft.rl.advantages import AdvantageOptions, ScoredEpisode, advantages
from alfworld_sft.rl.weights import token_weights
from alfworld_sft.train.data.pack import IGNORED
from alfworld_sft.train.model.attention import PACKED, Segments
from alfworld_sft.train.model.policy_loss import PolicyLoss, PolicyTokens, policy_sums
from alfworld_sft.train.model.prepare import LossModule
from tests.train.helpers_loop import write_model

CPU = torch.device("cpu")
GAMES, GROUP, LONGEST = 3, 4, 24


@dataclass(frozen=True)
class Rollout:
    """One conversation: prompt, what came after it, which of that the model said, and the reward."""

    prompt: list[int]
    completion: list[int]
    said: list[int]
    reward: float


def make_rollouts() -> list[Rollout]:
    dice = random.Random(0)
    rewards = [1, 0, 0, 1, 0.3, 0.1, 1, 0, 1, 1, 1, 1]  # the last game's episodes do not differ
    made = []
    for reward in rewards:
        length = dice.randint(6, LONGEST)
        said = [int(dice.random() < 0.7) for _ in range(length - 1)] + [1]
        ids = [dice.randrange(5, 50) for _ in range(8 + length)]
        made.append(Rollout(ids[:8], ids[8:], said, reward))
    return made


ROLLOUTS = make_rollouts()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def trainer(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return TRL's trainer, whose rollouts are ours."""

    def rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
        return {
            "prompt_ids": [each.prompt for each in ROLLOUTS],
            "completion_ids": [each.completion for each in ROLLOUTS],
            "logprobs": None,
            "env_mask": [each.said for each in ROLLOUTS],
        }

    config = GRPOConfig(
        output_dir=str(tmp_path_factory.mktemp("trl")),
        use_cpu=True,
        bf16=False,
        report_to=[],
        per_device_train_batch_size=GAMES * GROUP,
        num_generations=GROUP,
        max_completion_length=LONGEST,
        beta=0.1,
        epsilon=0.15,
        epsilon_high=0.25,
    )
    made = GRPOTrainer(
        model=str(folder),
        reward_funcs=lambda completions, **_: [each.reward for each in ROLLOUTS],
        args=config,
        train_dataset=Dataset.from_dict({"prompt": ["a"] * GAMES}),
        processing_class=load_tokenizer(str(folder)),
        rollout_func=rollout,
    )
    made.current_gradient_accumulation_steps = 1
    return made


@pytest.fixture(scope="module")
def batch(trainer: Any) -> dict[str, Any]:
    """Return TRL's batch, with log-probabilities at sampling and of a reference that differ from the model's."""
    trainer.model.train()
    found: dict[str, Any] = trainer._generate_and_score_completions([{"prompt": "a"}] * len(ROLLOUTS))
    shape = found["completion_ids"].shape
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        ids = torch.cat([found["prompt_ids"], found["completion_ids"]], 1)
        mask = torch.cat([found["prompt_mask"], found["completion_mask"]], 1)
        logps = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, shape[1])[0]
    found["old_per_token_logps"] = logps + 0.3 * torch.randn(shape, generator=generator)
    found["ref_per_token_logps"] = logps + 0.3 * torch.randn(shape, generator=generator)
    return found


def our_turns(scale: str) -> list[float]:
    options = AdvantageOptions(advantage="grpo", scale_rewards=scale)  # type: ignore[arg-type]
    found = advantages([ScoredEpisode(i // GROUP, (each.reward,)) for i, each in enumerate(ROLLOUTS)], options)
    return [float(turns[0]) for turns in found.turns]


@pytest.mark.parametrize("scale", ["group", "none"])
def test_advantages_are_trls(trainer: Any, scale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "scale_rewards", scale)
    theirs = trainer._generate_and_score_completions([{"prompt": "a"}] * len(ROLLOUTS))["advantages"]
    np.testing.assert_allclose(our_turns(scale), theirs.numpy(), atol=1e-6)
    assert theirs.abs().max() > 0.5


def packed(batch: dict[str, Any], rows: list[int], loss_type: str) -> tuple[Any, ...]:
    """Return some rollouts end to end: the fields of a forward pass, and what the loss needs of each token."""
    lengths = [sum(each.said) for each in ROLLOUTS]
    weight = token_weights(lengths, loss_type, LONGEST).astype(np.float32)  # type: ignore[arg-type]
    fields: dict[str, list[Any]] = {name: [] for name in ("ids", "positions", "labels", "weights")}
    known: dict[str, list[Any]] = {name: [] for name in ("sampled", "advantages", "sequences", "reference")}
    bounds = [0]
    for number, row in enumerate(rows):
        each = ROLLOUTS[row]
        ids, start = [*each.prompt, *each.completion], len(each.prompt) - 1
        size, said = len(ids), range(len(each.completion))

        def spread(values: Any, other: Any, start: int = start, size: int = size) -> list[Any]:
            return [*[other] * start, *values, *[other] * (size - start - len(values))]

        fields["ids"] += ids
        fields["positions"] += range(size)
        fields["labels"] += spread([each.completion[t] if each.said[t] else IGNORED for t in said], IGNORED)
        fields["weights"] += [weight[row]] * size
        known["sampled"] += spread(batch["old_per_token_logps"][row, : len(said)].tolist(), 0.0)
        known["reference"] += spread(batch["ref_per_token_logps"][row, : len(said)].tolist(), 0.0)
        worth = batch["advantages"][row].expand(batch["completion_ids"].shape[1])
        known["advantages"] += spread(worth[: len(said)].tolist(), 0.0)
        known["sequences"] += [number] * size
        bounds.append(bounds[-1] + size)
    tensors = [torch.tensor(np.array(values))[None] for values in fields.values()]
    return tensors, PolicyTokens(**{k: torch.tensor(v)[None] for k, v in known.items()}), torch.tensor(bounds)


def gradient(model: Any) -> Any:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("worth", ["of episodes", "of turns"])
@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("loss_type", ["dapo", "dr_grpo", "grpo"])
def test_loss_gradient_and_figures_are_trls_in_any_split(
    trainer: Any,
    batch: dict[str, Any],
    folder: Path,
    loss_type: str,
    level: str,
    worth: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if worth == "of turns":  # TRL takes advantages of tokens, too, though none of its own estimators makes them
        generator = torch.Generator().manual_seed(2)
        batch = {**batch, "advantages": torch.randn(batch["completion_ids"].shape, generator=generator)}
    monkeypatch.setattr(trainer, "loss_type", loss_type)
    monkeypatch.setattr(trainer, "importance_sampling_level", level)
    trainer._metrics["train"].clear()
    trainer.model.zero_grad()
    theirs = trainer._compute_loss(trainer.model, batch)
    theirs.backward()

    model = load_model(str(folder), torch.float32, CPU, PACKED).train()
    module = LossModule(model)
    total, sums = 0.0, dict.fromkeys(("tokens", "clipped_low", "clipped_high", "entropy", "kl_reference"), 0.0)
    for rows in ([0, 5, 7], [1, 2, 3, 4], [6, 8, 9, 10, 11]):
        (ids, positions, labels, weights), known, bounds = packed(batch, rows, loss_type)
        objective = PolicyLoss(known, clip_low=0.15, clip_high=0.25, level=level, beta=0.1)  # type: ignore[arg-type]
        found = module(ids, positions, labels, weights, Segments.of(bounds, CPU), objective, True)
        found.loss.backward()
        total += float(found.loss.detach())
        for key, value in policy_sums(objective, labels, found).items():
            sums[key] = sums.get(key, 0) + value

    assert total == pytest.approx(theirs.item(), abs=1e-6)
    wanted = gradient(trainer.model)
    assert ((gradient(model) - wanted).norm() / wanted.norm()).item() < 1e-5
    logged = {key: values[-1] for key, values in trainer._metrics["train"].items()}
    assert sums["entropy"] / sums["tokens"] == pytest.approx(logged["entropy"], abs=1e-5)
    assert sums["kl_reference"] / sums["tokens"] == pytest.approx(logged["kl"], abs=1e-6)
    if level == "token":  # TRL counts clipped sequences, not their tokens, at the level of sequences
        assert sums["clipped_low"] / sums["tokens"] == pytest.approx(logged["clip_ratio/low_mean"], abs=1e-6)
        assert sums["clipped_high"] / sums["tokens"] == pytest.approx(logged["clip_ratio/high_mean"], abs=1e-6)
        assert 0 < sums["clipped_low"] < sums["tokens"]
