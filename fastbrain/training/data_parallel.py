"""Exchange of a training step between processes: gradients, loss terms and initial weights.

Gradients are added up in the loop rather than by DistributedDataParallel: a parameter that no
process used in a step (the entry of a subject that is not in the batch) must stay without a
gradient, as with one process, and the language model is never wrapped.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from ..errors import ConfigError, TrainingError
from .config import StageConfig
from .processes import Processes, message_device, processes
from .run import Loader, Named
from .sharding import is_sharded

_BUCKET_BYTES = 64 << 20


def check_batch_sizes(*stages: StageConfig | None) -> None:
    """Raise if a batch of a stage has fewer windows than there are processes.

    Raises
    ------
    ConfigError
    """
    world = processes().part.world
    for stage in stages:
        if stage is not None and stage.batch_size < world:
            raise ConfigError(
                f"fit: batch_size of {stage.name} must be {world} or more, a window for each "
                f"process, got {stage.batch_size}. It counts the windows of all processes."
            )


def divide(team: Processes, loader: Loader, config: StageConfig) -> None:
    """Let a loader yield only the rows of this process.

    Raises
    ------
    TrainingError
        The loader has no method `divide`.
    ConfigError
        A batch has fewer windows than there are processes.
    """
    if team.alone:
        return
    if not hasattr(loader, "divide"):
        raise TrainingError(
            f"fit: loader must have a method divide for {team.part.world} processes, got "
            f"{type(loader).__name__}. Derive it from fastbrain.training.ResumableLoader."
        )
    check_batch_sizes(config)
    loader.divide(team.part)


def windows_of(batch: Any) -> int:
    """Number of windows of the joined batch."""
    shard = getattr(batch, "shard", None)
    return len(batch.trial_ids) if shard is None else int(shard.total)


def add_numbers(*values: float) -> list[float]:
    """Add up numbers of all processes; with one process they stay as they are."""
    if processes().alone:
        return list(values)
    total = torch.tensor(values, dtype=torch.float64, device=message_device())
    dist.all_reduce(total)
    return total.tolist()


def add_gradients(named: Named) -> None:
    """Add up the gradients of all processes; a parameter without one anywhere keeps none."""
    sharded = [p.grad for _, p in named if p.grad is not None and is_sharded(p.grad)]
    for gradient in sharded:
        gradient.mul_(processes().part.world)  # FSDP averages
    named = [(n, p) for n, p in named if not is_sharded(p)]
    if not named:
        return
    device = named[0][1].device
    used = torch.tensor([p.grad is not None for _, p in named], dtype=torch.int32, device=device)
    dist.all_reduce(used, dist.ReduceOp.MAX)
    gradients = []
    for (_, parameter), wanted in zip(named, used.tolist(), strict=True):
        if wanted:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    for bucket in _buckets(gradients):
        flat = torch.cat([g.reshape(-1) for g in bucket])
        dist.all_reduce(flat)
        for gradient, total in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
            gradient.copy_(total.view_as(gradient))


def add_terms(values: Tensor) -> Tensor:
    """Add up the shares of loss terms of all processes, (n,)."""
    dist.all_reduce(values)
    return values


def copy_from_first(objective: nn.Module) -> None:
    """Give all processes the parameters and buffers of the first one."""
    for tensor in objective.state_dict().values():
        dist.broadcast(tensor, 0)


def places_of_all(where: list[str], world: int) -> list[str]:
    """Concatenate the descriptions of windows of all processes."""
    own = torch.tensor(list("\n".join(where).encode()), dtype=torch.uint8)
    device = message_device()
    length = torch.tensor([len(own)], device=device)
    lengths = [torch.zeros_like(length) for _ in range(world)]
    dist.all_gather(lengths, length)
    longest = max(int(n) for n in lengths)
    padded = torch.zeros(longest, dtype=torch.uint8, device=device)
    padded[: len(own)] = own.to(device)
    texts = [torch.zeros_like(padded) for _ in range(world)]
    dist.all_gather(texts, padded)
    parts = [bytes(t[: int(n)].tolist()).decode() for t, n in zip(texts, lengths, strict=True)]
    return [line for part in parts for line in part.split("\n") if line]


def _buckets(gradients: list[Tensor]) -> list[list[Tensor]]:
    """Group gradients of one dtype, in order, into messages of limited size."""
    buckets: list[list[Tensor]] = []
    room, kind = 0, None
    for gradient in gradients:
        size = gradient.numel() * gradient.element_size()
        if not buckets or size > room or gradient.dtype != kind:
            buckets.append([])
            room, kind = _BUCKET_BYTES, gradient.dtype
        buckets[-1].append(gradient)
        room -= size
    return buckets
