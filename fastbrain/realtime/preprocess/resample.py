"""Interpolate a volume at the brain voxels of a reference, in one step for motion and grid.

Only brain voxels are computed, and a volume is interpolated once: position on the model's grid,
alignment and motion are one matrix. ``"linear"`` equals :func:`scipy.ndimage.affine_transform` with
``order=1, mode="nearest"``, as ``fastbrain decode --bold`` resamples; ``"cubic"`` is the
convolution of Keys (1981, IEEE Trans. ASSP 29:1153) with a = -1/2 over 64 voxels, which blurs less.
Both return the stored values where a position is a voxel centre.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

Interpolation = Literal["linear", "cubic"]
_LEAST_WEIGHT = 0.5  # of the finite voxels around an interpolated one
_OUTSIDE = 0.5  # voxels beyond the centre of the last one


def sample(volume: Tensor, places: Tensor, interpolation: Interpolation) -> Tensor:
    """Interpolate a volume at places in voxels.

    Parameters
    ----------
    volume : Tensor, (Z, Y, X) float32
    places : Tensor, (V, 3) float64
        Voxel coordinates (x, y, z); those outside the volume are moved to its border.
    interpolation : {"linear", "cubic"}

    Returns
    -------
    Tensor, (V,) float32
        From finite voxels; NaN where these have less than half of the weight.
    """
    one = linear if interpolation == "linear" else _cubic
    finite = torch.isfinite(volume)
    if bool(finite.all()):
        return one(volume, places)
    # a voxel that is NaN with weight zero would still give NaN
    weight = one(finite.to(torch.float32), places)
    total = one(torch.where(finite, volume, 0.0), places)
    return torch.where(weight >= _LEAST_WEIGHT, total / weight, torch.nan)


def outside(places: npt.NDArray[np.float64], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Flag places (V, 3) (x, y, z) that lie outside the field of view of a (Z, Y, X) volume."""
    last = np.array(shape[::-1]) - 1
    return np.asarray(((places < -_OUTSIDE) | (places > last + _OUTSIDE)).any(axis=1))


def linear(volume: Tensor, places: Tensor) -> Tensor:
    """Interpolate a finite volume (Z, Y, X) at places (V, 3) (x, y, z) from eight voxels each."""
    size = torch.tensor(volume.shape[::-1], dtype=torch.float64)
    # a volume of one slice has no second place; its centre is 0
    unit = (places * (2 / (size - 1).clamp(min=1)) - 1).to(torch.float32)
    unit = torch.where(size == 1, 0.0, unit)
    return grid_sample(
        volume[None, None],
        unit[None, None, None],
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    ).view(-1)


def _cubic(volume: Tensor, places: Tensor) -> Tensor:
    # replicated borders, so that four voxels along each axis are always there
    whole = pad(volume[None, None], (1, 2) * 3, mode="replicate")[0, 0]
    last = torch.tensor(volume.shape[::-1], dtype=torch.float64) - 1
    inside = torch.minimum(places.clamp(min=0), last)
    first = inside.floor()
    f = (inside - first).to(torch.float32)
    weights = torch.stack(
        [
            ((-0.5 * f + 1) * f - 0.5) * f,
            (1.5 * f - 2.5) * f * f + 1,
            ((-1.5 * f + 2) * f + 0.5) * f,
            (0.5 * f - 0.5) * f * f,
        ],
        dim=-1,
    )  # (V, 3, 4)
    _, y, x = whole.shape
    at = first.to(torch.int64)
    base = (at[:, 2] * y + at[:, 1]) * x + at[:, 0]
    step = torch.arange(4)
    rows = ((step[:, None] * y + step) * x).view(-1)  # (16,) along z and y
    # each row of four neighbours along x is contiguous: 16 gathers for a voxel, not 64
    lines = whole.reshape(-1).unfold(0, 4, 1)
    found = lines[(base[:, None] + rows).view(-1)].view(-1, 16, 4)
    along_x = torch.bmm(found, weights[:, 0, :, None]).squeeze(-1)  # (V, 16)
    return (along_x * (weights[:, 2, :, None] * weights[:, 1, None, :]).view(-1, 16)).sum(dim=-1)
