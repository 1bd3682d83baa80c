"""Does an update go where more games are won? Its gradient against finite differences, with a model of its own."""

from collections import Counter

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")

from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.models.load import load_tokenizer
from alfworld_sft.models.merge import load_whole
from alfworld_sft.rl.config import build_rl_config
from alfworld_sft.rl.run import _Run
from alfworld_sft.train.checkpoint import Position
from alfworld_sft.train.data.batches import micro_batches
from alfworld_sft.train.distributed import Ranks
from tests.rl.helpers import options

G = 4


def log_probability(model, episode):
    """Return the log-probability of all that an episode sampled, each turn read alone and from its beginning."""
    total = 0.0
    for step in episode.steps:
        prompt, said = step.reply.prompt_token_ids, step.reply.token_ids
        logits = model(input_ids=torch.tensor([[*prompt, *said]]), use_cache=False).logits[0]
        before = logits[len(prompt) - 1 : len(prompt) + len(said) - 1].log_softmax(-1)
        total += float(before.gather(1, torch.tensor(said)[:, None]).sum())
    return total


@torch.no_grad()
def slope(model, line, value):
    """Return the derivative of `value(model)` along a line, by a central difference."""
    size, found = 1e-4 / sum(float(change.square().sum()) for change in line.values()) ** 0.5, []
    for sign in (1, -2):
        for name, parameter in model.named_parameters():
            parameter.add_(line[name], alpha=sign * size)
        found.append(value(model))
    return (found[0] - found[1]) / (2 * size)


def test_the_gradient_is_that_of_the_expected_reward(agent, games, tmp_path):
    """The gradient of E[R] is that of E[(R - mean R of the other episodes) log p(episode)]."""
    torch.set_num_threads(1)
    dr_grpo = ("rl.advantage=rloo", "rl.loss_type=dr_grpo", "model.lora_rank=0", "rl.kl_limit=null")
    config = build_rl_config(options(agent, games, tmp_path, *dr_grpo, f"rl.num_generations={G}"))
    tokenizer = load_tokenizer(str(agent))
    run = _Run(config, Ranks(0, 1, torch.device("cpu")), tokenizer, ChatEncoder(tokenizer), None)
    try:
        groups, credit = run._play(Position(0, 0, 0))
        most = config.env.max_steps * config.policy.max_tokens
        micro = micro_batches(credit.samples("dr_grpo", most), 0, 1, run.learner.budget)
        run.updater._backward(micro, run.updater._policies(micro), Counter())
        gradient = {name: -parameter.grad.double() for name, parameter in run.learner.model.named_parameters()}
    finally:
        run.close()
    mixed = [group for group in groups if 0 < group.won < G]
    assert mixed  # the agent wins some of its games

    def gain(model):
        better = [
            (episode.success - (group.won - episode.success) / (G - 1)) * log_probability(model, episode)
            for group in mixed
            for episode in group.episodes
        ]
        return sum(better) / (len(better) * most)

    torch.manual_seed(0)
    noise = {name: torch.randn_like(each) * each.abs().mean() for name, each in gradient.items()}
    for line in (gradient, {name: gradient[name] + noise[name] for name in gradient}):
        expected = sum(float((gradient[name] * line[name]).sum()) for name in gradient)
        model = load_whole(str(agent))[0].double()
        assert slope(model, line, gain) == pytest.approx(expected, rel=1e-3)
        assert expected > 0
