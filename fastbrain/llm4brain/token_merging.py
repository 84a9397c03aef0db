"""Later tokenizer stages: sparse 3-D convolution over the kept tokens."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError
from ..grid import TokenGrid


class Join(nn.Module):
    """Strided 3-D convolution over the lattice of kept tokens; missing tokens count as zero.

    The result equals ``conv3d`` of the activated tokens on the dense lattice, at sites with a kept
    token in the cube. The cubes are gathered and multiplied in one matrix product.

    Parameters
    ----------
    fine : TokenGrid
        Grid of the input tokens.
    kernel, stride : int
        Side and stride of the cube, in tokens.
    in_dim, out_dim : int
    activation : {"gelu", "silu", "relu"} or None
        Activation of the input tokens; None: linear.

    Attributes
    ----------
    grid : TokenGrid
        Grid of the cubes that contain at least one token.
    members : Tensor, (n_cubes, kernel³) int64
        Tokens of each cube, in (z, y, x) order; ``fine.n_tokens`` marks a missing token.
    """

    members: Tensor

    def __init__(
        self,
        fine: TokenGrid,
        kernel: int,
        stride: int,
        in_dim: int,
        out_dim: int,
        *,
        activation: str | None = "gelu",
    ) -> None:
        super().__init__()
        check_lattice(fine)
        kept = np.zeros(math.prod(fine.lattice), dtype=bool)
        kept[fine.kept] = True
        self.grid = TokenGrid.from_mask(kept.reshape(fine.lattice), (kernel,) * 3, (stride,) * 3)
        number = np.full(kept.size + 1, fine.n_tokens)
        number[fine.kept] = np.arange(fine.n_tokens)
        # offset -1 (no site) selects the last entry, which means no token
        members = torch.from_numpy(number[self.grid.offsets])
        self.register_buffer("members", members, persistent=False)
        self.activation = activation
        self.weight = nn.Parameter(torch.empty(out_dim, in_dim, kernel, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(out_dim))
        bound = 1 / math.sqrt(in_dim * kernel**3)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, tokens: Tensor) -> Tensor:
        """Merge tokens (B, n_tokens, in_dim) into (B, n_cubes, out_dim)."""
        if self.activation is not None:
            tokens = getattr(F, self.activation)(tokens)
        known = F.pad(tokens, (0, 0, 0, 1))  # one row of zeros after the tokens
        cubes = known[:, self.members]  # (B, m, k³, in_dim)
        weight = self.weight.permute(0, 2, 3, 4, 1).flatten(1)
        return F.linear(cubes.flatten(2), weight, self.bias)


def check_lattice(grid: TokenGrid) -> None:
    """Raise for a grid without a lattice, on which later stages have no neighbours to merge.

    Raises
    ------
    ConfigError
    """
    if grid.geometry != "volume":
        raise ConfigError(
            "tokenizer: later stages merge neighbours on a lattice of voxels, got a store of "
            f"{grid.location_words}. Configure a tokenizer without kernels."
        )


def reach(joins: nn.ModuleList, n_tokens: int) -> Tensor:
    """Return the first-stage tokens that each token of the last stage covers.

    Parameters
    ----------
    joins : ModuleList of Join
    n_tokens : int
        Number of tokens of the first stage.

    Returns
    -------
    Tensor, (m, K) int64
        `n_tokens` marks a missing token; shape (n_tokens, 1) if `joins` is empty.
    """
    found = torch.arange(n_tokens)[:, None]
    for join in joins:
        assert isinstance(join, Join)
        none = torch.full((1, found.shape[1]), n_tokens)
        found = torch.cat([found, none])[join.members.cpu()].flatten(1)
    return found
