"""Fixed position codes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .._arguments import checked
from ..errors import InputError

# the shortest wavelength separates neighbouring 8 mm patches; the longest is twice a head
_SHORTEST_MM, _LONGEST_MM = 16.0, 400.0


def as_floats(values: npt.ArrayLike | Tensor, dtype: torch.dtype) -> Tensor:
    """Copy a tensor, an array (also a read-only one) or lists to a new floating CPU tensor."""
    if isinstance(values, Tensor):
        return values.detach().to("cpu", dtype, copy=True)
    return torch.tensor(np.asarray(values), dtype=dtype)


@checked
def brain_positions(centers_mm: npt.ArrayLike | Tensor, dim: int) -> Tensor:
    """Compute the three-dimensional sine-cosine position code of patch centres.

    The code depends on the position of a patch in world coordinates (mm), so grids of different
    resolution share it.

    Parameters
    ----------
    centers_mm : array_like, (n, 3) float
        World coordinates (x, y, z), mm.
    dim : int
        Width of the code. Each axis has dim // 6 wavelengths; the remaining channels stay 0.

    Returns
    -------
    Tensor, (n, dim) float32
    """
    centers = as_floats(centers_mm, torch.float64)
    if centers.ndim != 2 or centers.shape[1] != 3 or not torch.isfinite(centers).all():
        raise InputError(
            f"brain_positions: centers_mm must be finite with shape (n, 3), got "
            f"{tuple(centers.shape)}. Use grid.centers(affine)."
        )
    waves = dim // 6
    if waves < 1:
        raise InputError(f"brain_positions: dim must be at least 6, got {dim}.")
    exponent = torch.linspace(0, 1, waves, dtype=torch.float64)
    length = _SHORTEST_MM * (_LONGEST_MM / _SHORTEST_MM) ** exponent
    angle = 2 * math.pi * centers[:, :, None] / length  # (n, 3, waves)
    code = torch.zeros(len(centers), dim, dtype=torch.float64)
    code[:, : 6 * waves] = torch.cat([angle.sin(), angle.cos()], dim=-1).flatten(1)
    return code.float()
