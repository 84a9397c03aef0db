"""FSDP2: each process keeps a part of the weights of every transformer block.

Blocks are replaced by sharded copies while a stage trains, and get their weights back at its end,
so that saving and the next stage see an ordinary model. Parameters outside of blocks (tokenizer,
bridge, prototypes, the scalar temperature, which FSDP2 cannot shard) are on every process.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from ..errors import TrainingError
from ..nn.blocks import Block
from ..nn.state_dict import load_strict
from .processes import Processes

Named = list[tuple[str, nn.Parameter]]

# set by `accelerate launch --use_fsdp`
_ASKED = "ACCELERATE_USE_FSDP"


@contextmanager
def sharded_blocks(objective: nn.Module, team: Processes) -> Iterator[None]:
    """Context manager in which the trained blocks of an objective are sharded, if asked for.

    Raises
    ------
    TrainingError
        FSDP is asked for and no block has a trainable parameter.
    """
    if team.alone or os.environ.get(_ASKED, "").lower() not in ("1", "true"):
        yield
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    device = next(p for p in objective.parameters() if p.requires_grad).device
    mesh = init_device_mesh(device.type, (team.part.world,))
    swapped = list(_blocks(objective))
    if not swapped:
        raise TrainingError(
            "fit: a stage under FSDP must train a transformer block, got none. Start it without "
            "--use_fsdp: other parameters are on every process."
        )
    for blocks, i, block in swapped:
        sharded = copy.deepcopy(block)
        for parameter in block.parameters():
            parameter.data = parameter.new_empty(0)
        fully_shard(sharded, mesh=mesh)
        blocks[i] = sharded
    yield
    # not after an error: a process that is lost cannot give its part
    for blocks, i, block in swapped:
        own = dict(block.named_parameters())
        for name, value in whole(dict(blocks[i].named_parameters())).items():
            own[name].data = value.detach()
        block.train(blocks[i].training)
        blocks[i] = block


def is_sharded(value: object) -> bool:
    """Whether a tensor is a part of a sharded one."""
    return hasattr(value, "full_tensor")


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gather the sharded ones of some tensors; all processes must call this."""
    return {
        name: value.full_tensor() if is_sharded(value) else value  # type: ignore[attr-defined]
        for name, value in tensors.items()
    }


def load_whole(objective: nn.Module, state: Mapping[str, Tensor], *, where: str) -> None:
    """Load whole weights into a module that may be sharded.

    Raises
    ------
    CheckpointError
        A tensor is missing, extra or has another shape.
    """
    own = objective.state_dict()
    load_strict(objective, {k: part_of(v, own.get(k)) for k, v in state.items()}, where=where)


def part_of(value: Tensor, like: Tensor | None) -> Tensor:
    """Shard a tensor as another one of its shape is; unchanged if that is not sharded."""
    if like is None or not is_sharded(like) or value.shape != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    mesh: Any = like.device_mesh  # type: ignore[attr-defined]
    placements = like.placements  # type: ignore[attr-defined]
    return distribute_tensor(value.to(mesh.device_type), mesh, placements, src_data_rank=None)


def clip_gradients(named: Named, limit: float) -> Tensor:
    """Clip gradients, of which some are sharded, to a global norm; return the norm before."""
    gradients = [p.grad for _, p in named if p.grad is not None]
    parts = [g.to_local() for g in gradients if is_sharded(g)]  # type: ignore[attr-defined]
    plain = [g for g in gradients if not is_sharded(g)]
    squares = torch.zeros((), device=gradients[0].device)
    for part in parts:
        squares += part.float().square().sum()
    dist.all_reduce(squares)
    for gradient in plain:
        squares += gradient.float().square().sum()
    norm = squares.sqrt()
    if limit:
        factor = (limit / (norm + 1e-6)).clamp(max=1.0)
        for gradient in (*parts, *plain):
            gradient.mul_(factor.to(gradient.dtype))
    return norm


def _blocks(objective: nn.Module) -> Iterator[tuple[nn.ModuleList, int, nn.Module]]:
    """Find the blocks with a trained parameter: ours, and the layers of a language model."""
    layers = {
        name for m in objective.modules() for name in getattr(m, "_no_split_modules", None) or ()
    }
    for parent in list(objective.modules()):
        if isinstance(parent, nn.ModuleList):
            for i, block in enumerate(parent):
                known = isinstance(block, Block) or type(block).__name__ in layers
                if known and any(p.requires_grad for p in block.parameters()):
                    yield parent, i, block
