"""The loss is that of the sampled tokens, whatever passes they are computed in."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")

from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.models.load import load_tokenizer
from alfworld_sft.rl.config import build_rl_config
from alfworld_sft.rl.run import _Run
from alfworld_sft.train.checkpoint import Position
from alfworld_sft.train.data.batches import micro_batches
from alfworld_sft.train.data.pack import IGNORED, shift
from alfworld_sft.train.distributed import Ranks
from alfworld_sft.train.learner import forward
from tests.rl.helpers import options

ALONE = Ranks(0, 1, torch.device("cpu"))


@pytest.fixture
def run(agent, games, tmp_path):
    """Start a run with these options, and close it in the end."""
    started = []

    def start(*more: str) -> _Run:
        config = build_rl_config(options(agent, games, tmp_path, *more))
        tokenizer = load_tokenizer(str(agent))
        started.append(_Run(config, ALONE, tokenizer, ChatEncoder(tokenizer), None))
        return started[-1]

    torch.set_num_threads(1)
    yield start
    for each in started:
        each.close()


def samples_of(run):
    config = run.config
    _, credit = run._play(Position(0, 0, 0))
    return credit.samples(config.rl.loss_type, config.env.max_steps * config.policy.max_tokens)


@pytest.mark.parametrize("temperature", ["1.0", "1.3"])
@pytest.mark.parametrize("rank", [0, 4])
def test_training_finds_the_log_probabilities_of_sampling(run, temperature, rank):
    started = run(f"policy.temperature={temperature}", f"model.lora_rank={rank}", "rl.advantage=progress")
    samples = samples_of(started)
    assert min(sample.logprobs.min() for sample in samples) < -1  # some tokens were not certain
    for packed in micro_batches(samples, 0, 1, 300):
        found = -forward(started.learner.module, packed, ALONE.device).nll
        sampled = torch.from_numpy(np.concatenate([shift(sample.logprobs) for sample in packed.samples]))[None]
        trained = packed.labels != IGNORED
        assert (found - sampled)[trained].abs().max() < 1e-4


@pytest.mark.parametrize("more", [(), ("rl.importance_sampling_level=sequence", "rl.loss_type=grpo"), ("rl.beta=0.1",)])
def test_loss_and_gradient_do_not_depend_on_how_samples_are_packed(run, more):
    started = run(*more)
    samples = [  # each sampled a little otherwise than now, by another ratio, so that their losses do not cancel
        replace(sample, logprobs=sample.logprobs - np.float32(0.02 * (1 + number % 7)))
        for number, sample in enumerate(samples_of(started))
    ]
    parameters = started.learner.optimizer.parameters
    for parameter in parameters[1::2]:
        torch.nn.init.normal_(parameter, std=0.02)  # away from the reference
    found = []
    for budget in (1, 700, 10_000):
        micro = micro_batches(samples, 0, 1, budget)
        policies = started.updater._policies(micro)
        loss = started.updater._backward(micro, policies, Counter())
        found.append((loss, torch.cat([parameter.grad.flatten() for parameter in parameters])))
        started.learner.optimizer.zero_grad()
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        assert torch.allclose(gradient, found[0][1], rtol=1e-4, atol=1e-7)
