"""How far has the policy moved? Log-probabilities of sampled tokens under the model that the run started from.

With adapters that is the model with its adapters switched off. Where all weights are trained it is a second, frozen
copy in the dtype of the computation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from alfworld_sft.models.load import load_model
from alfworld_sft.rl.config import RLConfig
from alfworld_sft.train.data.pack import Packed
from alfworld_sft.train.distributed import shard_again
from alfworld_sft.train.learner import Learner, forward
from alfworld_sft.train.model.attention import choose_attention


class Reference:
    """The model that a run started from; `frozen` is a copy of it, or None where adapters can be switched off."""

    def __init__(self, learner: Learner, frozen: nn.Module | None) -> None:
        self._learner, self._frozen = learner, frozen

    def logprobs(self, micro: Sequence[Packed]) -> list[Tensor]:
        """Return the log-probabilities of the labels of each micro-batch, (1, tokens)."""
        with torch.no_grad(), self._module() as module:
            return [-forward(module, packed, self._learner.ranks.device).nll for packed in micro]

    @contextmanager
    def _module(self) -> Iterator[nn.Module]:
        if self._frozen is not None:
            yield self._frozen
            return
        with self._learner.model.disable_adapter():
            yield self._learner.module
        shard_again(self._learner.module)


def reference_of(learner: Learner, config: RLConfig) -> Reference | None:
    """Return the reference if the config needs one. Raises ModelError if it cannot be loaded."""
    if not config.rl.beta and config.rl.kl_limit is None:
        return None
    return Reference(learner, None if config.model.lora_rank else _frozen_copy(learner, config))


def _frozen_copy(learner: Learner, config: RLConfig) -> nn.Module:
    name = config.model.partial_pretrain
    attention = choose_attention(name, config.model.attention, config.longest_row)
    model = load_model(name, learner.compute, learner.ranks.device, attention).requires_grad_(False).eval()
    return learner.loss_module(model)
