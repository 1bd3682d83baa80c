"""How does a model in training play? A hook measures its success at every test step.

Each process plays its share of the games with its own full copy of the weights: gathered from the shards, adapters
merged, in the dtype that `alfworld-sft evaluate` uses. So the figures match those that it prints for the checkpoint of
the same step, but for adapters on a float32 base that is trained in bfloat16: here it is as rounded for training, there
as it is stored. The model in training is not modified.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from alfworld_sft.evaluate.metrics import Metrics, Unplayed, measure
from alfworld_sft.models.load import ModelError, base_of, plain_name
from alfworld_sft.policies.base import Policy
from alfworld_sft.policies.llm.local import LocalModel, playing_dtype
from alfworld_sft.policies.llm.sampling import Sampling
from alfworld_sft.runs.job import protocol_of
from alfworld_sft.runs.runner import EpisodePlayer
from alfworld_sft.train.distributed import Ranks, full_tensor
from alfworld_sft.train.eval_games import EvalGames
from alfworld_sft.train.model.lora import adapted_name
from alfworld_sft.train.model.optim import clean_name
from alfworld_sft.types import Episode

if TYPE_CHECKING:
    from alfworld_sft.train.hooks import Moment

logger = logging.getLogger(__name__)


class GamePlay:
    """Plays the same games at each call; created by every process, and loads that process's share of them."""

    def __init__(self, chosen: EvalGames, ranks: Ranks) -> None:
        config = chosen.config
        self._template = chosen.template
        self._protocol = protocol_of(config)
        self._policy, self._seed = config.policy, config.seed
        if ranks.first:
            logger.info("at each test step the model plays %s", chosen.games.description)
            if chosen.games.warning:
                logger.warning("%s", chosen.games.warning)
        self._games = [(index, ref.load()) for index, ref in chosen.share(ranks.rank, ranks.world)]

    def __call__(self, moment: Moment) -> Mapping[str, float]:
        """Return success, overall and by task type, the share of invalid actions, and the mean number of steps."""
        dtype = playing_dtype(self._policy.dtype, moment.ranks.device)
        player = LocalModel(
            playable_copy(moment.model, dtype),
            moment.tokenizer,
            "the model in training",
            Sampling(self._policy.temperature, self._policy.top_p, self._policy.max_tokens),
            max_batch=self._policy.max_batch,
            constrain=self._policy.constrain == "action",
        )
        with closing(player):
            played = moment.ranks.gather(asyncio.run(self._play(player)))
        return play_figures([episode for share in played for episode in share])

    async def _play(self, policy: Policy) -> list[Episode]:
        player = EpisodePlayer(policy, self._template, self._protocol, self._seed)
        return await asyncio.gather(*(player.play_game(index, game) for index, game in self._games))


def play_figures(episodes: Sequence[Episode], prefix: str = "val/") -> dict[str, float]:
    """Return the episodes' figures for the log; an episode that ended in an error is reported and counts as lost."""
    failed = [episode for episode in episodes if episode.error is not None]
    if failed:
        logger.warning("%d of %d games failed and count as lost: %s", len(failed), len(episodes), failed[0].error)
    metrics = measure(
        (episode for episode in episodes if episode.error is None),
        (Unplayed(episode.index, episode.game_id, episode.task_type) for episode in failed),
    )
    return {
        f"{prefix}success": metrics.success().rate,
        **{f"{prefix}success_{task_type}": metrics.success(task_type).rate for task_type in metrics.task_types},
        **{f"{prefix}{name}": value for name, value in _step_figures(metrics).items()},
    }


def _step_figures(metrics: Metrics) -> dict[str, float]:
    if metrics.mean_steps is None:
        return {}
    return {"invalid_rate": metrics.invalid_rate, "mean_steps": metrics.mean_steps}


def playable_copy(model: Any, dtype: torch.dtype) -> Any:
    """Return a plain transformers model with the current weights of a model in training; every process must call this.

    It may share memory with the model in training, so finish using it before the next step. Raises ModelError if a
    weight has no value.
    """
    base = base_of(model)
    config = copy.deepcopy(base.config)
    config.use_cache = True
    adapted = _adapter_layers(base)
    if adapted.keys() & {f"{name}.weight" for name in _tied_modules(base)}:
        config.tie_word_embeddings = False  # the adapter has changed one of the two
    with torch.device("meta"):
        found = type(base)._from_config(config, dtype=dtype, attn_implementation="sdpa")
    _fill(found, dict(_merged_weights(base, adapted, dtype)), dict(base.named_buffers()))
    found.generation_config = base.generation_config
    return found.eval()


def _fill(model: Any, weights: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> None:
    """Give every weight and buffer of an empty model its value; raises ModelError if one has none."""
    model.load_state_dict(weights, strict=False, assign=True)
    model.tie_weights()
    values = {plain_name(clean_name(name)): buffer for name, buffer in buffers.items()}
    for name, _ in list(model.named_buffers()):
        owner, _, own = name.rpartition(".")
        if name in values:
            model.get_submodule(owner)._buffers[own] = values[name].clone()
    named = [*model.named_parameters(), *model.named_buffers()]
    missing = sorted(name for name, tensor in named if tensor.is_meta)
    if missing:
        raise ModelError(
            f"{type(model).__name__}: {len(missing)} weights of the model in training have no place in one that plays,"
            f" such as {missing[0]}; set trainer.eval_games=0"
        )


def _adapter_layers(base: Any) -> dict[str, list[Any]]:
    """Return the layers with adapters, by the plain names of the weights that they change."""
    found: dict[str, list[Any]] = {}
    for name, layer in base.named_modules():
        if hasattr(layer, "get_delta_weight"):
            found.setdefault(adapted_name(clean_name(name), layer), []).append(layer)
    return found


def _tied_modules(base: Any) -> list[str]:
    """Return the names of the embedding and the output layer."""
    ends = [base.get_input_embeddings(), base.get_output_embeddings()]
    return [clean_name(name) for name, module in base.named_modules() if any(module is end for end in ends)]


@torch.no_grad()
def _merged_weights(base: Any, adapted: Mapping[str, list[Any]], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Yield names and weights with adapters merged as `merge` does: in float32. A tied weight comes twice."""
    for name, parameter in base.named_parameters(remove_duplicate=False):
        if "lora_" in name:
            continue
        plain = plain_name(clean_name(name))
        weight = full_tensor(parameter.detach())
        for layer in adapted.get(plain, ()):
            weight = weight.float() + full_tensor(layer.get_delta_weight("default"))
        yield plain, weight.to(dtype)
