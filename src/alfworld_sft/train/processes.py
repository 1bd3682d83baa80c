"""How many processes does a training start on this machine with trainer.processes=auto?"""

from __future__ import annotations

import logging
import sys

import torch

from alfworld_sft.counts import counted, size_in_words
from alfworld_sft.models.load import empty_model
from alfworld_sft.system import available_memory, usable_cores
from alfworld_sft.train.config import TrainingConfig
from alfworld_sft.train.distributed import choose_device
from alfworld_sft.train.model.memory import ACTIVATION_BYTES, KEPT_BYTES, MOST
from alfworld_sft.train.model.trainable import compute_dtype

logger = logging.getLogger(__name__)

KEPT_PER_WIDTH = {torch.bfloat16: 8.5, torch.float32: 13.0}
"""Bytes that a layer keeps of a token for the backward pass, by the sum of the intermediate and three hidden sizes.

Measured on Qwen2 layers 128 to 1,536 wide: 8.1 to 8.5 and 11.6 to 13.0.
"""
STARTED = 2**30
"""Bytes of a process before its model."""


def count_processes(config: TrainingConfig, shares: int) -> int:
    """Return how many processes to start here: as wished, or one per GPU, or one per core.

    Of the latter as many as a step has shares, and as the memory available holds by `process_bytes`; a smaller number
    is logged. Raises ModelError if the model's config cannot be read.
    """
    wish, device = config.trainer.processes, config.trainer.device
    if wish != "auto":
        return wish
    if choose_device(device, 0, 1).type == "cuda":
        return int(torch.cuda.device_count())
    wanted = min(usable_cores(), shares)
    memory = available_memory()
    if wanted == 1 or memory is None:
        return wanted
    each = process_bytes(config)
    fitting = max(1, min(wanted, memory // each))
    if fitting < wanted:
        logger.warning(
            "trainer.processes=auto: %s for %s; each may need %s, and %s are available",
            counted(fitting, "process", "processes"), counted(usable_cores(), "core"), size_in_words(each),
            size_in_words(memory),
        )  # fmt: skip
    return fitting


def process_bytes(config: TrainingConfig) -> int:
    """Return about how much memory a process needs to train on a CPU: an upper bound for rows up to the limit.

    Weights, with gradients and the optimizer's two moments where all are trained, and twice what a pass keeps, for
    what it computes with and what lies between. The games that `rl` plays are not counted. SmolLM2-135M in `compact`
    conversations: 4.4 GiB, as measured. Raises ModelError.
    """
    model, compute = empty_model(config.model.partial_pretrain), compute_dtype(config, torch.device("cpu"))
    parameters = sum(weights.numel() for weights in model.parameters())
    weights = parameters * (compute.itemsize if config.model.lora_rank else 4 * torch.float32.itemsize)
    width = 3 * getattr(model.config, "hidden_size", 0) + getattr(model.config, "intermediate_size", 0)
    per_token = getattr(model.config, "num_hidden_layers", 0) * width * KEPT_PER_WIDTH[compute]
    several = min(ACTIVATION_BYTES, MOST * per_token)
    single = min(KEPT_BYTES, (config.longest_row or sys.maxsize) * per_token)
    return int(STARTED + weights + 2 * max(several, single))
