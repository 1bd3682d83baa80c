"""Which processes take part in a run, which device does each use, and how do they exchange values?

`torchrun` starts the processes and identifies them by environment variables; without it a run is one process. DDP and
FSDP2 average gradients; the loop multiplies its loss by the number of processes, so the result is the sum, and the
gradient does not depend on how many processes there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from alfworld_sft.errors import UserError
from alfworld_sft.train.choices import DeviceChoice, Strategy

TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others: one of them may be writing a checkpoint to a slow disk."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among its peers."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def sums(self, *values: float) -> list[float]:
        """Return the sum of each value over all processes, in float64."""
        return self._reduce(values, dist.ReduceOp.SUM)

    def largest(self, value: int) -> int:
        """Return the largest value of any process."""
        return int(self._reduce((value,), dist.ReduceOp.MAX)[0])

    def gather(self, item: Any) -> list[Any]:
        """Return every process's item, in rank order; items are plain values."""
        if self.world == 1:
            return [item]
        items: list[Any] = [None] * self.world
        dist.all_gather_object(items, item)
        return items

    def share(self, item: Any) -> Any:
        """Return rank 0's item."""
        if self.world == 1:
            return item
        items = [item]
        dist.broadcast_object_list(items, src=0)
        return items[0]

    def _reduce(self, values: Sequence[float], operation: Any) -> list[float]:
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, operation)
        return [float(value) for value in tensor.tolist()]


@contextmanager
def join_processes(device: DeviceChoice = "auto", environ: Mapping[str, str] = os.environ) -> Iterator[Ranks]:
    """Join the processes started by torchrun, and leave them at the end; free every DDP module first.

    Raises UserError if there are more processes on this machine than GPUs.
    """
    world = int(environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device, int(environ.get("LOCAL_RANK", "0")), int(environ.get("LOCAL_WORLD_SIZE", "1")))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world == 1:
        yield Ranks(0, 1, chosen)
        return
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT)
    yield Ranks(dist.get_rank(), world, chosen)
    dist.destroy_process_group()  # not after an error: the others may be waiting, and this process exits


def choose_device(wish: DeviceChoice, local_rank: int, local_world: int) -> torch.device:
    """Return this process's device; raises UserError if the requested one is unavailable."""
    gpus = torch.cuda.device_count()
    if wish == "cpu" or (wish == "auto" and gpus == 0):
        return torch.device("cpu")
    if gpus == 0:
        raise UserError("trainer.device=cuda: PyTorch sees no GPU here; write trainer.device=cpu")
    if local_world > gpus:
        raise UserError(
            f"{local_world} processes were started, but there {'is 1 GPU' if gpus == 1 else f'are {gpus} GPUs'}:"
            f" start {gpus}, or write trainer.device=cpu"
        )
    return torch.device("cuda", local_rank)


def distribute(
    module: nn.Module, layers: Sequence[nn.Module], ranks: Ranks, strategy: Strategy, compute: torch.dtype
) -> nn.Module:
    """Prepare the module for several processes: wrapped in DDP, or sharded layer by layer in place (FSDP2)."""
    if strategy == "fsdp2" and ranks.world > 1:
        return _shard(module, layers, ranks, compute)
    if ranks.world == 1:
        return module
    device_ids = [ranks.device.index] if ranks.device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=device_ids, gradient_as_bucket_view=True)


def _shard(module: nn.Module, layers: Sequence[nn.Module], ranks: Ranks, compute: torch.dtype) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh  # noqa: PLC0415 - only where it is used
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard  # noqa: PLC0415

    mesh = init_device_mesh(ranks.device.type, (ranks.world,))
    policy = MixedPrecisionPolicy()
    if compute != torch.float32:
        policy = MixedPrecisionPolicy(compute, torch.float32, cast_forward_inputs=False)
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(module, mesh=mesh, mp_policy=policy)
    return module


def gradient_sync(module: nn.Module, *, last: bool) -> AbstractContextManager[None]:
    """Keep gradients local until the last micro-batch of a step."""
    if isinstance(module, DistributedDataParallel):
        return nullcontext() if last else module.no_sync()
    sharded: Any = module
    if hasattr(sharded, "set_requires_gradient_sync"):
        sharded.set_requires_gradient_sync(last)
    return nullcontext()


def shard_again(module: nn.Module) -> None:
    """Drop the weights that FSDP2 holds unsharded, in the compute dtype, after a forward pass without backward."""
    sharded: Any = module
    if hasattr(sharded, "reshard"):
        sharded.reshard()


def full_tensor(tensor: Tensor) -> Tensor:
    """Return a tensor with all of its shards; every process must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(tensor: Tensor, model: Tensor) -> Tensor:
    """Return a full tensor on the device and with the sharding of another tensor of the same shape."""
    tensor = tensor.to(device=model.device)
    if not isinstance(model, DTensor):
        return tensor
    from torch.distributed.tensor import distribute_tensor  # noqa: PLC0415

    return distribute_tensor(tensor, model.device_mesh, model.placements)
