"""Which optimizers are there, and how does the learning rate change over a run?

The learning rate is a function of the step alone, so there is no schedule to save. An optimizer's state is saved
unsharded, by parameter name, so it can be loaded with any number of processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from alfworld_sft.errors import UserError
from alfworld_sft.train.choices import OptimizerName, Schedule
from alfworld_sft.train.distributed import full_tensor, shard_like
from alfworld_sft.train.model.muon import Muon

OptimizerState = dict[str, dict[str, Any]]
"""Name of a parameter → its optimizer state: tensors of its shape, and the number of steps."""


def lr_factor(step: int, total: int, warmup_ratio: float, schedule: Schedule, floor: float = 0.0) -> float:
    """Return the fraction of the peak learning rate at a step, counted from 0.

    It rises linearly over `warmup_ratio` of the steps, reaching the peak at the last of them, then falls so that it
    would reach `floor` at the step after the last one; `constant` stays at the peak.
    """
    warmup = int(total * warmup_ratio)
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    progress = (step - warmup) / max(1, total - warmup)
    left = (1 + math.cos(math.pi * progress)) / 2 if schedule == "cosine" else 1 - progress
    return floor + (1 - floor) * left


class Optimizer:
    """AdamW for all weights, or Muon for the matrices inside the layers and AdamW for the rest.

    Matrices decay, vectors (norms, biases) do not. Muon's update is scaled to the size of AdamW's, so both use the same
    learning rate.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        name: OptimizerName,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        self.lr = lr
        self._names = {parameter: name for name, parameter in trained_parameters(module)}
        inner = (
            {p for n, p in trained_parameters(module) if ".layers." in n and p.ndim == 2} if name == "muon" else set()
        )
        rest = [p for p in self._names if p not in inner]
        groups = [
            {"params": [p for p in rest if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
        ]
        self._optimizers: list[torch.optim.Optimizer] = []
        if rest:
            fused = not any(isinstance(p, DTensor) and not p.is_cuda for p in rest)
            groups = [group for group in groups if group["params"]]
            self._optimizers.append(torch.optim.AdamW(groups, lr=lr, betas=betas, fused=fused))
        if inner:
            self._optimizers.append(_muon([p for p in self._names if p in inner], lr, weight_decay, momentum))

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All trained parameters."""
        return list(self._names)

    @property
    def uses_adamw(self) -> bool:
        """Whether some of the weights are AdamW's."""
        return any(isinstance(optimizer, torch.optim.AdamW) for optimizer in self._optimizers)

    def step(self, factor: float) -> float:
        """Update the weights at this fraction of the peak learning rate, zero the gradients, and return the rate."""
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.lr * factor
            optimizer.step()
        self.zero_grad()
        return self.lr * factor

    def zero_grad(self) -> None:
        """Zero the gradients."""
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)

    def clip(self, largest: float) -> float:
        """Clip the gradients to this norm (0: no limit) and return the norm before clipping."""
        parameters = self.parameters
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        norm = full_tensor(norm)
        if largest > 0:
            torch.nn.utils.clip_grads_with_norm_(parameters, largest, norm)
        return float(norm)

    def state(self, *, keep: bool = True) -> OptimizerState:
        """Return the full state on the CPU; every process must call this, and only those with `keep` get it."""
        states: OptimizerState = {}
        for optimizer in self._optimizers:
            state: Mapping[Any, Mapping[str, Any]] = optimizer.state
            for parameter, values in state.items():
                gathered = {key: _gather_on_cpu(value, keep=keep) for key, value in values.items()}
                if keep:
                    states[self._names[parameter]] = gathered
        return states

    def load(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Load a state; raises ValueError if it does not belong to these parameters."""
        if states and set(states) != set(self._names.values()):
            raise ValueError("its optimizer state is of other weights")
        for optimizer in self._optimizers:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            state = {
                i: {key: _place_like(value, p) for key, value in states[self._names[p]].items()}
                for i, p in enumerate(parameters)
                if self._names[p] in states
            }
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def trained_parameters(module: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    """Yield the trained parameters under names independent of wrappers (DDP, compiled layers)."""
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            yield clean_name(name), parameter


def clean_name(name: str) -> str:
    """Return a parameter's name without the prefixes that wrappers add."""
    return name.removeprefix("module.").replace("_orig_mod.", "")


def _muon(parameters: list[nn.Parameter], lr: float, weight_decay: float, momentum: float) -> Muon:
    if any(isinstance(p, DTensor) for p in parameters):
        raise UserError("optim.name=muon needs unsharded matrices; write model.strategy=ddp, or optim.name=adamw")
    return Muon(parameters, lr=lr, weight_decay=weight_decay, momentum=momentum)


def _gather_on_cpu(value: Any, *, keep: bool) -> Any:
    if not isinstance(value, Tensor):
        return value
    gathered = full_tensor(value)
    return gathered.detach().cpu().clone() if keep else None


def _place_like(value: Any, parameter: Tensor) -> Any:
    return shard_like(value, parameter) if isinstance(value, Tensor) and value.shape == parameter.shape else value
