"""Later stages of the tokenizer: convolution over the tokens that are kept, and over no others."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..grid import TokenGrid


class Join(nn.Module):
    """Strided 3-D convolution over the lattice of kept tokens; where none is kept there is zero.

    It is what ``conv3d`` of the activated tokens gives on the dense lattice, at the sites whose
    cube holds a token. The cubes are gathered, and one matrix product reads them.

    Parameters
    ----------
    fine : TokenGrid
        Whose tokens are joined.
    kernel, stride : int
        Side of the cube and its step, in tokens.
    in_dim, out_dim : int
    activation : {"gelu", "silu", "relu"} or None
        What stands between the stages; None joins linearly.

    Attributes
    ----------
    grid : TokenGrid
        Cubes that hold at least one token.
    members : Tensor, (n_cubes, kernel³) int64
        Tokens of each cube, in (z, y, x) order; ``fine.n_tokens`` where there is none.
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
        kept = np.zeros(math.prod(fine.lattice), dtype=bool)
        kept[fine.kept] = True
        self.grid = TokenGrid.from_mask(kept.reshape(fine.lattice), (kernel,) * 3, (stride,) * 3)
        number = np.full(kept.size + 1, fine.n_tokens)
        number[fine.kept] = np.arange(fine.n_tokens)
        # the lattice's own -1, no token, is the last entry
        members = torch.from_numpy(number[self.grid.offsets])
        self.register_buffer("members", members, persistent=False)
        self.activation = activation
        self.weight = nn.Parameter(torch.empty(out_dim, in_dim, kernel, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(out_dim))
        bound = 1 / math.sqrt(in_dim * kernel**3)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, tokens: Tensor) -> Tensor:
        """Join tokens (B, n_tokens, in_dim) into (B, n_cubes, out_dim)."""
        if self.activation is not None:
            tokens = getattr(F, self.activation)(tokens)
        known = F.pad(tokens, (0, 0, 0, 1))  # one row of zeros behind the tokens
        cubes = known[:, self.members]  # (B, m, k³, in_dim)
        weight = self.weight.permute(0, 2, 3, 4, 1).flatten(1)
        return F.linear(cubes.flatten(2), weight, self.bias)


def reach(joins: nn.ModuleList, n_tokens: int) -> Tensor:
    """First-stage tokens behind each token of the last stage.

    Parameters
    ----------
    joins : ModuleList of Join
    n_tokens : int
        Tokens of the first stage.

    Returns
    -------
    Tensor, (m, K) int64
        `n_tokens` where there is none; (n_tokens, 1) without joins.
    """
    found = torch.arange(n_tokens)[:, None]
    for join in joins:
        assert isinstance(join, Join)
        none = torch.full((1, found.shape[1]), n_tokens)
        found = torch.cat([found, none])[join.members.cpu()].flatten(1)
    return found
