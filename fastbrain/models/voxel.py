"""The spatio-temporal tokenizer: int16 voxels in, one token per patch of brain out."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from .. import ops
from ..errors import InputError
from ..grid import TokenGrid
from .positions import as_floats


class VoxelTokenizer(nn.Module):
    """Three-dimensional convolution over the patches of a grid, frames as channels.

    Whole-brain "super-voxel" tokens of LLM4Brain (section 3.1). Voxels stay int16 until the
    kernel normalises them with the training cohort's mean and standard deviation.

    Parameters
    ----------
    grid : TokenGrid
    frames : int
        Volumes F of a window.
    dim : int
        Width of a token.
    steps : int
        Parts W of a window, each read by itself; divides F.
    mean, inv_std : array_like, (n_tokens, P) float32, optional
        Per-voxel statistics in units of scale·raw. Default: 0 and 1 inside the mask.
    scale : float
        Factor from stored integers to physical units.

    Raises
    ------
    InputError
        The statistics do not fit the grid, or are not finite.
    """

    mean: Tensor
    inv_std: Tensor

    def __init__(
        self,
        grid: TokenGrid,
        frames: int,
        dim: int,
        *,
        steps: int = 1,
        mean: npt.ArrayLike | Tensor | None = None,
        inv_std: npt.ArrayLike | Tensor | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if steps < 1 or frames % steps:
            raise InputError(f"VoxelTokenizer: steps must divide {frames} frames, got {steps}.")
        self.grid, self.frames, self.dim, self.scale = grid, frames, dim, float(scale)
        self.steps = steps
        self.weight = nn.Parameter(torch.empty(dim, frames // steps, *grid.kernel))
        self.bias = nn.Parameter(torch.empty(dim))
        brain = torch.from_numpy(np.array(grid.patch_mask, dtype=np.float32))
        self.register_buffer("mean", _statistic("mean", mean, torch.zeros_like(brain)))
        self.register_buffer("inv_std", _statistic("inv_std", inv_std, brain) * brain)
        bound = 1 / math.sqrt(frames // steps * grid.patch_voxels)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, voxels: Tensor) -> Tensor:
        """Tokenize windows.

        Parameters
        ----------
        voxels : Tensor, (B, F, n_tokens, P) or (B, F, Z, Y, X) int16 or floating
            Stored units; patch-major is the layout of a voxel store and needs no gather.

        Returns
        -------
        Tensor, (B, W · n_tokens, dim)
            The steps one after the other.
        """
        windows = len(voxels)
        if self.steps > 1:
            voxels = voxels.unflatten(1, (self.steps, -1)).flatten(0, 1)
        tokens = ops.tokenize_voxels(
            voxels,
            self.weight,
            self.bias,
            grid=self.grid,
            mean=self.mean,
            inv_std=self.inv_std,
            scale=self.scale,
        )
        return tokens.reshape(windows, -1, self.dim)

    def normalise(self, voxels: Tensor) -> Tensor:
        """Voxels as the tokenizer sees them: (scale·v − mean)·inv_std, 0 outside the brain.

        Parameters
        ----------
        voxels : Tensor, (B, F, n_tokens, P) or (B, F, Z, Y, X)

        Returns
        -------
        Tensor, (B, F, n_tokens, P) float32
        """
        return (self.patches(voxels).float() * self.scale - self.mean) * self.inv_std

    def noisy(self, voxels: Tensor, std: float) -> Tensor:
        """Add Gaussian noise of `std` standard deviations of each voxel (augmentation).

        Parameters
        ----------
        voxels : Tensor, (B, F, n_tokens, P) or (B, F, Z, Y, X)
        std : float
            In units of each voxel's own standard deviation.

        Returns
        -------
        Tensor, (B, F, n_tokens, P) float32
            Stored units.
        """
        voxels = self.patches(voxels).float()
        alive = self.inv_std > 0
        unit = torch.where(alive, std / (self.inv_std * self.scale).where(alive, 1.0), 0.0)
        return voxels + torch.randn_like(voxels) * unit

    def patches(self, voxels: Tensor) -> Tensor:
        """Bring either layout to (B, F, n_tokens, P); elements outside the brain hold 0."""
        if voxels.ndim == 4:
            return voxels
        if voxels.ndim != 5 or tuple(voxels.shape[2:]) != self.grid.shape:
            raise InputError(
                f"VoxelTokenizer: voxels must be (B, F, {self.grid.n_tokens}, "
                f"{self.grid.patch_voxels}) or (B, F, Z, Y, X) with {self.grid.shape}, got "
                f"{tuple(voxels.shape)}."
            )
        offsets = torch.from_numpy(self.grid.offsets).to(voxels.device)
        return voxels.flatten(2)[:, :, offsets.clamp_min(0)] * (offsets >= 0)


def _statistic(name: str, value: npt.ArrayLike | Tensor | None, default: Tensor) -> Tensor:
    if value is None:
        return default
    tensor = as_floats(value, torch.float32)
    if tensor.shape != default.shape or not torch.isfinite(tensor).all():
        raise InputError(
            f"VoxelTokenizer: {name} must be finite with shape {tuple(default.shape)}, got "
            f"{tuple(tensor.shape)}. Take it from the store this grid came from."
        )
    return tensor
