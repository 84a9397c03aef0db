"""Random projection of long rows by a Fourier transform, without a matrix."""

from __future__ import annotations

import torch
from torch import Tensor


class RandomProjection:
    """Subsampled randomised Fourier transform (Ailon & Chazelle 2009).

    The signs of the features are drawn, the row is transformed by an orthonormal real Fourier
    transform, and `size` of its coefficients are drawn, scaled so that squared lengths are kept on
    average. All coefficients (``size == features``) are an orthogonal map.

    Parameters
    ----------
    features, size : int
    seed : int
    """

    def __init__(self, features: int, size: int, *, seed: int = 0) -> None:
        drawn = torch.Generator().manual_seed(seed)
        self.features, self.size = features, size
        self.signs = torch.randint(0, 2, (features,), generator=drawn).float() * 2 - 1
        # real coefficients as (frequency, part): the sine of frequency 0, and for an even number of
        # features that of the last frequency, are zero and left out
        places = torch.arange(2 * (features // 2 + 1))
        alone = places[(places == 0) | ((places == features) & (features % 2 == 0))]
        places = places[(places != 1) & ~((places == features + 1) & (features % 2 == 0))]
        self.chosen = places[torch.randperm(features, generator=drawn)[:size]].sort().values
        # the other coefficients stand for two frequencies each
        one, both = torch.tensor([1.0, 2.0], dtype=torch.float64).sqrt()
        self.scale = torch.where(torch.isin(self.chosen, alone), one, both)
        self.gain = (features / size) ** 0.5

    def __call__(self, rows: Tensor) -> Tensor:
        """Project rows (N, features) to (N, size)."""
        spectrum = torch.fft.rfft(rows * self.signs.to(rows), norm="ortho")
        values = torch.view_as_real(spectrum).flatten(1)[:, self.chosen.to(rows.device)]
        return values * (self.scale * self.gain).to(values)

    def back(self, weights: Tensor) -> Tensor:
        """Map weights of projections (R, size) to those of features (R, features)."""
        spectrum = weights.new_zeros(len(weights), 2 * (self.features // 2 + 1))
        spectrum[:, self.chosen] = weights * (self.gain / self.scale).to(weights)
        half = torch.view_as_complex(spectrum.unflatten(1, (-1, 2)))
        return torch.fft.irfft(half, n=self.features, norm="ortho") * self.signs.to(weights)
