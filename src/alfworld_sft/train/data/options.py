"""Which options determine a sample's tokens and weights?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from alfworld_sft.train.choices import Weighting
from alfworld_sft.train.config import TrainConfig

Truncation = Literal["turn", "right", "left", "error"]
"""turn: cut after the last reply that fits; right and left: cut at that end; error: refuse."""


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """The options that determine a sample's tokens and weights.

    `prediction_weight` scales the loss on <prediction>, `observation_weight` is that of the observations in a
    conversation. `next_state_rows` adds this many rows per action row that predict only what the game says next.
    """

    max_length: int = 2048
    truncation: Truncation = "turn"
    weighting: Weighting = "uniform"
    fold: bool = True
    prediction_weight: float = 1.0
    observation_weight: float = 0.0
    next_state_rows: float = 0.0
    seed: int = 1


def sample_options(config: TrainConfig) -> SampleOptions:
    """Return the options of a training config."""
    data, world = config.data, config.worldmodel
    return SampleOptions(
        max_length=data.max_length,
        truncation=data.truncation,
        weighting=data.multiturn.weighting,
        fold=data.multiturn.fold,
        prediction_weight=world.loss_weight,
        observation_weight=world.observation_loss,
        next_state_rows=world.next_state_rows,
        seed=config.trainer.seed,
    )
