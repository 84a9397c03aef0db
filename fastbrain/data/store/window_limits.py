"""Limits of what a window may look like, taken from the training windows.

A model writes a fluent sentence for any input: raw intensities, zeros, a scan in another space. So
every window is compared with the training windows before it is decoded, and one outside these
limits is held back. The same limits serve stored windows, new scans and single windows in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._rules import Rule, checked_record, list_of, number
from ...errors import InputError

_BEYOND = 3.0  # times the deviation that 95 % of the training windows keep
_MOST = 0.95
_LEAST_MEAN = 0.25  # standard deviations; the mean of a few training windows varies too little
_LEAST_RATIO = math.log(2)
_MORE_ZEROS, _MORE_CLIPPED = 0.05, 0.01
_CLEAR = 0.5  # a mean image that training runs share less than this identifies no space
_STEPS = 32767  # clipped values of a store are stored as plus or minus this


@dataclass(frozen=True)
class WindowLimits:
    """Ranges of the statistics of a window; voxels that never vary in training do not count.

    Parameters
    ----------
    mean : tuple of 2 float
        Lowest and highest mean over voxels and volumes, in standard deviations of each voxel over
        the training windows.
    spread : tuple of 2 float
        Lowest and highest standard deviation around that mean, in the same units; 1 is usual.
    zeros, clipped : float
        Largest share of values that are exactly zero, and of values at the end of int16.
    anatomy : float
        Largest absolute correlation over voxels of the mean of a window with the mean image: close
        to 1 for raw intensities, small for changes of a signal.
    image : float
        Lowest correlation over voxels of a run's mean image with that of the training runs; -1
        where the training runs share no clear mean image.
    """

    mean: tuple[float, float]
    spread: tuple[float, float]
    zeros: float
    clipped: float
    anatomy: float
    image: float

    @classmethod
    def of(cls, windows: npt.NDArray[np.float64], images: Iterable[float]) -> WindowLimits:
        """Set the limits from training windows and runs.

        Mean and spread may deviate from the median of the training windows by three times what
        95 % of these windows keep, and at least by 0.25 standard deviations and a factor of two.
        The correlation with the mean image may go half the way from that quantile to 1.

        Parameters
        ----------
        windows : ndarray, (N, 5) float64
            From :func:`window_statistics`.
        images : iterable of float
            Correlation of the mean image of each training run with the mean of the others.
        """
        means, spreads, zeros, clipped, anatomy = windows.T
        middle = float(np.median(means))
        reach = max(_BEYOND * _usual(means - middle), _LEAST_MEAN)
        logs = np.log(np.maximum(spreads, 1e-6))
        centre = float(np.median(logs))
        ratio = max(_BEYOND * _usual(logs - centre), _LEAST_RATIO)
        lowest = min(images)
        return cls(
            mean=(middle - reach, middle + reach),
            spread=(math.exp(centre - ratio), math.exp(centre + ratio)),
            zeros=float(zeros.max()) + _MORE_ZEROS,
            clipped=float(clipped.max()) + _MORE_CLIPPED,
            anatomy=(1 + _usual(anatomy)) / 2,
            image=lowest / 2 if lowest >= _CLEAR else -1.0,
        )

    def to_json(self) -> dict[str, Any]:
        """Convert to plain JSON values."""
        return asdict(self) | {"mean": list(self.mean), "spread": list(self.spread)}

    @classmethod
    def from_json(cls, value: Any) -> WindowLimits:
        """Inverse of :meth:`to_json`.

        Raises
        ------
        InputError
            Missing or unknown keys, or values of the wrong type.
        """
        found = checked_record(value, _RULES, where="WindowLimits.from_json", error=InputError)
        pairs = {name: tuple(found[name]) for name in ("mean", "spread")}
        return cls(**{**found, **pairs})

    def fault(self, window: npt.NDArray[np.float64], image: float | None = None) -> str:
        """Describe how a window leaves the limits; "" if it does not.

        Parameters
        ----------
        window : ndarray, (5,) float64
            One row of :func:`window_statistics`.
        image : float, optional
            Correlation of the mean image of its run, if known.
        """
        mean, spread, zeros, clipped, anatomy = window.tolist()
        found = []
        for name, value, (low, high) in (
            ("mean", mean, self.mean),
            ("spread", spread, self.spread),
        ):
            if not low <= value <= high:
                found.append(f"{name} {value:.3g} SD (training {low:.2f} to {high:.2f})")
        for name, value, most in (("zero", zeros, self.zeros), ("clipped", clipped, self.clipped)):
            if value > most:
                found.append(f"{value:.0%} {name} values (training at most {most:.0%})")
        if abs(anatomy) > self.anatomy:
            found.append(
                f"correlates {anatomy:.2f} with the mean image, as raw intensities do (training at "
                f"most {self.anatomy:.2f})"
            )
        if image is not None and not image >= self.image:
            found.append(
                f"mean image correlates {image:.2f} with training (at least {self.image:.2f})"
            )
        return "; ".join(found)


def window_statistics(
    windows: Iterable[npt.NDArray[np.int16]],
    *,
    mean: npt.NDArray[np.float32],
    inv_std: npt.NDArray[np.float32],
    scale: float,
    mean_image: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float64]:
    """Compute the statistics of each window that :class:`WindowLimits` limits, in their order.

    Parameters
    ----------
    windows : iterable of ndarray, (F, n_tokens, P) int16
        Stored steps.
    mean, inv_std : ndarray, (n_tokens, P) float32
        Statistics of the training windows, in units of ``scale · stored``.
    scale : float
        Units per stored step.
    mean_image : ndarray, (n_tokens, P) float32, optional
        Mean image of the training runs; without it the last column is NaN.

    Returns
    -------
    ndarray, (N, 5) float64
        Mean, spread, share of zeros, share of clipped values, correlation with the mean image.

    Raises
    ------
    InputError
        A window is not int16 (intensities and z-scores are not what a store holds), or has another
        shape.
    """
    alive = np.flatnonzero(inv_std > 0)
    centre, factor = mean.ravel()[alive], inv_std.ravel()[alive]
    image = None if mean_image is None else mean_image.ravel()[alive]
    rows = []
    for window in windows:
        fits = window.ndim == 3 and len(window) > 0 and window.shape[1:] == mean.shape
        if window.dtype != np.int16 or not fits:
            raise InputError(
                "window_statistics: windows must be (F >= 1, "
                f"{mean.shape[0]}, {mean.shape[1]}) int16, stored steps of {scale:g} units, got "
                f"{window.dtype} of shape {window.shape}. "
                "Prepare the scan as the model's store was (fastbrain decode --bold)."
            )
        rows.append(
            _of_window(window.reshape(len(window), -1), alive, centre, factor, scale, image)
        )
    return np.array(rows, dtype=np.float64).reshape(-1, 5)


def _of_window(
    window: npt.NDArray[np.int16],
    alive: npt.NDArray[np.int64],
    centre: npt.NDArray[np.float32],
    factor: npt.NDArray[np.float32],
    scale: float,
    image: npt.NDArray[np.float32] | None,
) -> tuple[float, ...]:
    first, second, zeros, clipped = 0.0, 0.0, 0, 0
    total, z = np.zeros(alive.size), np.empty(alive.size, dtype=np.float32)
    # volume by volume, which stays in the cache; a window is larger than it
    for volume in window:
        steps = np.take(volume, alive)
        total += steps
        zeros += steps.size - int(np.count_nonzero(steps))
        clipped += int(np.count_nonzero((steps >= _STEPS) | (steps <= -_STEPS)))
        np.multiply(steps, np.float32(scale), out=z)
        z -= centre
        z *= factor
        first += z.sum(dtype=np.float64)
        second += np.einsum("v,v->", z, z, dtype=np.float64)
    n = len(window) * alive.size
    mean = first / n
    spread = math.sqrt(max(second / n - mean**2, 0.0))
    anatomy = math.nan if image is None else correlation(total, image)
    return mean, spread, zeros / n, clipped / n, anatomy


def correlation(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """Pearson correlation of two images (V,); 0 if one of them is constant."""
    a, b = (x.astype(np.float64) - x.mean(dtype=np.float64) for x in (one, other))
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0


def _usual(deviations: npt.NDArray[np.float64]) -> float:
    """Absolute deviation that 95 % of the training windows keep."""
    return float(np.quantile(np.abs(deviations), _MOST))


def _pair(value: Any) -> bool:
    return list_of(number)(value) and len(value) == 2 and value[0] <= value[1]


_RULES: dict[str, Rule] = {
    "mean": _pair,
    "spread": _pair,
    "zeros": number,
    "clipped": number,
    "anatomy": number,
    "image": number,
}
