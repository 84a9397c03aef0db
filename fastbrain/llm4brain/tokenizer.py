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
from ..nn.positions import as_floats
from .config import TokenizerConfig
from .token_merging import Join, reach


class VoxelTokenizer(nn.Module):
    """Three-dimensional convolution over the patches of a grid, frames as channels.

    Whole-brain "super-voxel" tokens of LLM4Brain (section 3.1). Voxels stay int16 until the
    kernel normalises them with the training cohort's mean and standard deviation. Later stages
    join neighbouring tokens (:class:`.joins.Join`).

    Parameters
    ----------
    grid : TokenGrid
    frames : int
        Volumes F of a window.
    dim : int
        Width of a token.
    steps : int
        Parts W of a window, each read by itself; divides F.
    config : TokenizerConfig, optional
        Temporal kernel and later stages; default none.
    mean, inv_std : array_like, (n_tokens, P) float32, optional
        Per-voxel statistics in units of scale·raw. Default: 0 and 1 inside the mask.
    scale : float
        Factor from stored integers to physical units.

    Raises
    ------
    InputError
        The statistics do not fit the grid, or are not finite, or the temporal kernel leaves
        volumes out.

    Attributes
    ----------
    reach : Tensor, (n_tokens, K) int64
        Patches behind each token; ``grid.n_tokens`` where there is none.
    """

    mean: Tensor
    inv_std: Tensor
    reach: Tensor

    def __init__(
        self,
        grid: TokenGrid,
        frames: int,
        dim: int,
        *,
        steps: int = 1,
        config: TokenizerConfig | None = None,
        mean: npt.ArrayLike | Tensor | None = None,
        inv_std: npt.ArrayLike | Tensor | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if steps < 1 or frames % steps:
            raise InputError(f"VoxelTokenizer: steps must divide {frames} frames, got {steps}.")
        config = config or TokenizerConfig()
        self.grid, self.frames, self.dim, self.scale = grid, frames, dim, float(scale)
        self.steps, self.kernel_frames = steps, config.frames or frames // steps
        self.stride_frames = _stride(frames, steps, self.kernel_frames)
        width = config.width or dim if config.kernels else dim
        self.weight = nn.Parameter(torch.empty(width, self.kernel_frames, *grid.kernel))
        self.bias = nn.Parameter(torch.empty(width))
        self.joins = _joins(grid, width, dim, config)
        self.register_buffer("reach", reach(self.joins, grid.n_tokens), persistent=False)
        brain = torch.from_numpy(np.array(grid.patch_mask, dtype=np.float32))
        self.register_buffer("mean", _statistic("mean", mean, torch.zeros_like(brain)))
        self.register_buffer("inv_std", _statistic("inv_std", inv_std, brain) * brain)
        bound = 1 / math.sqrt(self.kernel_frames * grid.patch_voxels)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    @property
    def n_tokens(self) -> int:
        """Tokens of one step: those of the last stage."""
        return len(self.reach)

    def centers(self, centers_mm: npt.ArrayLike | Tensor) -> Tensor:
        """Centre of every token in mm: the mean of the centres of its patches.

        Parameters
        ----------
        centers_mm : array_like, (grid.n_tokens, 3) float
            ``grid.centers(affine)``.

        Returns
        -------
        Tensor, (n_tokens, 3) float64
        """
        centers = as_floats(centers_mm, torch.float64)
        if not self.joins:
            return centers
        behind = self.reach.cpu()
        known = (behind < self.grid.n_tokens)[..., None]
        rows = torch.cat([centers, centers.new_zeros(1, 3)])[behind]
        return rows.sum(dim=1) / known.sum(dim=1)

    def spread(self, values: Tensor) -> Tensor:
        """Give every patch of the grid the value of its token, the mean where several have it.

        Parameters
        ----------
        values : Tensor, (n_tokens,) float

        Returns
        -------
        Tensor, (grid.n_tokens,) float
        """
        behind = self.reach.to(values.device).flatten()
        total = values.new_zeros(2, self.grid.n_tokens + 1)
        each = values.repeat_interleave(self.reach.shape[1])
        total.index_add_(1, behind, torch.stack([each, torch.ones_like(each)]))
        return total[0, :-1] / total[1, :-1].clamp_min(1)

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
        if self.kernel_frames > self.stride_frames:
            voxels = torch.stack(
                [
                    voxels[:, i * self.stride_frames :][:, : self.kernel_frames]
                    for i in range(self.steps)
                ],
                dim=1,
            ).flatten(0, 1)
        elif self.steps > 1:
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
        for join in self.joins:
            tokens = join(tokens)
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


def _stride(frames: int, steps: int, kernel: int) -> int:
    """Volumes from the beginning of one step to that of the next."""
    stride, rest = divmod(frames - kernel, max(1, steps - 1))
    covers = kernel == frames if steps == 1 else not rest and 1 <= stride <= kernel
    if not covers:
        raise InputError(
            f"VoxelTokenizer: a temporal kernel of {kernel} volumes must cover {frames} in {steps} "
            "steps at even distances. Choose another kernel or number of steps."
        )
    return stride if steps > 1 else kernel


def _joins(grid: TokenGrid, width: int, dim: int, config: TokenizerConfig) -> nn.ModuleList:
    joins = nn.ModuleList()
    strides = config.strides or config.kernels
    for i, (kernel, stride) in enumerate(zip(config.kernels, strides, strict=True)):
        out = dim if i == len(strides) - 1 else width
        join = Join(grid, kernel, stride, width, out, activation=config.activation)
        joins.append(join)
        grid = join.grid
    return joins


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
