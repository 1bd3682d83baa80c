"""How is the model of a run loaded for training, and is its loss the model's own?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from alfworld_sft.errors import UserError
from alfworld_sft.models.load import load_config, load_model
from alfworld_sft.models.products import WIDE, multiplies_bfloat16
from alfworld_sft.train.config import TrainingConfig
from alfworld_sft.train.data.sample import Sample
from alfworld_sft.train.distributed import Ranks
from alfworld_sft.train.model.attention import choose_attention
from alfworld_sft.train.model.lora import add_lora
from alfworld_sft.train.model.own_loss import may_be_packed, own_loss, probe_rows
from alfworld_sft.train.model.prepare import LossModule, compile_each_layer, prepare


def compute_dtype(config: TrainingConfig, device: torch.device) -> torch.dtype:
    """Return the dtype to compute in: by default bfloat16 where the device multiplies it faster, float32 elsewhere.

    On a CPU that is with AMX or AVX512-BF16, and adapters on a model that is wide enough for products to be most of
    the work. Measured on a core of an EPYC: 135 M parameters, 576 wide, 245 tokens/s instead of 160; a model 128 wide
    gains nothing.
    """
    if config.model.dtype != "auto":
        return torch.bfloat16 if config.model.dtype == "bfloat16" else torch.float32
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        width = getattr(load_config(config.model.partial_pretrain), "hidden_size", 0)
        fast = config.model.lora_rank > 0 and width >= WIDE and multiplies_bfloat16()
    return torch.bfloat16 if fast else torch.float32


def load_trainable(
    config: TrainingConfig, ranks: Ranks, compute: torch.dtype, samples: Sequence[Sample]
) -> tuple[Any, bool]:
    """Load the model with trained weights in float32: adapters on a base in the compute dtype, or all weights.

    Also return whether its rows may share a pass. Raises ModelError if the loss would not be the model's own.
    """
    options = config.model
    name, autocast = options.partial_pretrain, compute if compute != torch.float32 else None
    attention = choose_attention(name, options.attention, config.longest_row)
    model = load_model(name, compute if options.lora_rank else torch.float32, ranks.device, attention)
    own = own_loss(model, probe_rows(samples, model.config, config.longest_row), autocast)
    if options.lora_rank:
        torch.manual_seed(config.trainer.seed)
        model = add_lora(
            model, options.lora_rank, options.lora_alpha, options.target_modules, autocast=autocast is not None
        )
    prepare(model, gradient_checkpointing=options.enable_gradient_checkpointing, compile_layers=False)
    may_share = _agree(ranks, lambda: may_be_packed(name, LossModule(model, autocast=autocast), own))
    if options.compile:
        compile_each_layer(model)
    return model, may_share


def _agree(ranks: Ranks, ask: Callable[[], bool]) -> bool:
    """Return rank 0's answer in every process, or raise its UserError in every process."""
    answer: bool | UserError
    try:
        answer = ask()
    except UserError as error:
        answer = error
    answer = ranks.share(answer)
    if isinstance(answer, UserError):
        raise answer
    return answer
