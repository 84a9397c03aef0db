"""Spatio-temporal tokenizer: int16 voxels to one token per brain patch."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from .. import ops
from ..errors import InputError
from ..grid import TokenGrid
from ..nn import shards
from ..nn.positions import as_floats
from .config import TokenizerConfig
from .token_merging import Join, reach


class VoxelTokenizer(nn.Module):
    """Three-dimensional convolution over the patches of a grid, with volumes as channels.

    Whole-brain "super-voxel" tokens of LLM4Brain (section 3.1). Voxels stay int16 until the
    kernel normalises them with the mean and standard deviation of the training cohort. Later
    stages merge neighbouring tokens (:class:`.token_merging.Join`).

    Parameters
    ----------
    grid : TokenGrid
    frames : int
        Number of volumes F in a window.
    dim : int
        Width of a token.
    steps : int
        Number of steps W; each step is tokenised on its own. W must divide F.
    config : TokenizerConfig, optional
        Temporal kernel and later stages; default: one stage.
    mean, inv_std : array_like, (n_tokens, P) float32, optional
        Voxel statistics in units of scale·raw. Default: 0 and 1 inside the mask.
    scale : float
        Factor from stored integers to physical units.

    Raises
    ------
    InputError
        The statistics do not fit the grid or are not finite, `steps` does not divide `frames`, or
        the steps do not cover all volumes at even distances.

    Attributes
    ----------
    reach : Tensor, (n_tokens, K) int64
        Patches that each token covers; ``grid.n_tokens`` marks an empty entry.
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
        """Number of tokens of one step, after the last stage."""
        return len(self.reach)

    def centers(self, centers_mm: npt.ArrayLike | Tensor) -> Tensor:
        """Compute the centre of every token in mm: the mean of the centres of its patches.

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
        """Give each patch the value of its token, or the mean over all tokens that cover it.

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
        """Tokenise windows.

        Parameters
        ----------
        voxels : Tensor, (B, F, n_tokens, P) or (B, F, Z, Y, X) int16 or floating
            Stored units. The patch-major layout (4 axes) is that of a voxel store and needs no
            gather.

        Returns
        -------
        Tensor, (B, W · n_tokens, dim)
            The steps of each window in order.
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
        """Normalise voxels as the tokenizer does: (scale·v − mean)·inv_std, 0 outside the brain.

        Parameters
        ----------
        voxels : Tensor, (B, F, n_tokens, P) or (B, F, Z, Y, X)

        Returns
        -------
        Tensor, (B, F, n_tokens, P) float32
        """
        return (self.patches(voxels).float() * self.scale - self.mean) * self.inv_std

    def noisy(self, voxels: Tensor, std: float) -> Tensor:
        """Add Gaussian noise scaled by the standard deviation of each voxel (augmentation).

        Parameters
        ----------
        voxels : Tensor, (B, F, n_tokens, P) or (B, F, Z, Y, X)
        std : float
            Noise level in units of the standard deviation of each voxel.

        Returns
        -------
        Tensor, (B, F, n_tokens, P) float32
            Stored units.
        """
        voxels = self.patches(voxels).float()
        alive = self.inv_std > 0
        unit = torch.where(alive, std / (self.inv_std * self.scale).where(alive, 1.0), 0.0)
        noise = shards.draw(
            lambda n: torch.randn_like(voxels[:1].expand(n, *voxels.shape[1:])), len(voxels)
        )
        return voxels + noise * unit

    def patches(self, voxels: Tensor) -> Tensor:
        """Convert either layout to (B, F, n_tokens, P).

        Elements outside the brain become 0 if `voxels` are volumes (B, F, Z, Y, X).
        """
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
    """Return the number of volumes from the start of one step to the start of the next."""
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
