"""Mean and squared deviations of voxels, updated volume by volume (Welford 1962).

With forgetting, an observation that is ``k`` volumes old counts ``exp(-k · TR / memory)``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_LEAST = 8  # volumes for a ratio of mean and standard deviation


class Moments:
    """Weighted mean and sum of squared deviations.

    Parameters
    ----------
    n_voxels : int

    Attributes
    ----------
    count : int
        Volumes so far.
    weight : float
        Sum of their weights.
    mean, squares : Tensor, (V,) float64
        Weighted mean, and weighted sum of squared deviations from it.
    """

    def __init__(self, n_voxels: int) -> None:
        self.count = 0
        self.weight = 0.0
        self.mean = torch.zeros(n_voxels, dtype=torch.float64)
        self.squares = torch.zeros(n_voxels, dtype=torch.float64)

    def update(self, values: Tensor, kept: float = 1.0) -> tuple[Tensor, float]:
        """Add a volume.

        Parameters
        ----------
        values : Tensor, (V,) float64
            Finite.
        kept : float
            Factor on the weight of everything before, 0..1.

        Returns
        -------
        deviations : Tensor, (V,) float64
            From the mean before the update.
        factor : float
            By which products of such deviations enter a weighted sum of centred products.
        """
        before = kept * self.weight
        self.weight = before + 1
        self.count += 1
        factor = before / self.weight
        deviations = values - self.mean
        self.squares.mul_(kept).addcmul_(deviations, deviations, value=factor)
        self.mean.add_(deviations, alpha=1 / self.weight)
        return deviations, factor

    def tsnr(self) -> float | None:
        """Return the median over voxels of mean / standard deviation, without detrending.

        None before there are 8 volumes, or if no voxel varies.
        """
        if self.count < _LEAST:
            return None
        spread = np.sqrt(self.squares.numpy() / self.weight)
        varies = spread > 0
        if not varies.any():
            return None
        ratios: npt.NDArray[np.float64] = self.mean.numpy()[varies] / spread[varies]
        return float(np.median(ratios))
