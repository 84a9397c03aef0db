"""Scale region time courses with training statistics, predict them by AR(1), resample the TR."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ..leaks.fit_scope import FitScope

Scaling = Literal["robust", "z"]
_MOST_STEPS = 1000  # largest term in the ratio of two TRs: 0.72 s to 0.735 s is 48/49


@dataclass(frozen=True, eq=False)
class SeriesScaler:
    """Centre and spread of each region over training runs: ``(x - centre) / spread``.

    Parameters
    ----------
    kind : {"robust", "z"}
        Median and interquartile range, or mean and standard deviation.
    center, spread : ndarray, (R,) float64
    fitted_on : tuple of str
        Names of the runs used in the fit.
    """

    kind: Scaling
    center: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float64]
    fitted_on: tuple[str, ...]

    @classmethod
    def fit(
        cls, series: Mapping[str, npt.NDArray[Any]], *, kind: Scaling = "robust"
    ) -> SeriesScaler:
        """Fit to training runs; every volume has equal weight.

        Parameters
        ----------
        series : mapping of str to ndarray, (R, T)
            Training runs by name.
        kind : {"robust", "z"}

        Raises
        ------
        InputError
            There are no runs, runs have different regions, a value is not finite, or a region has
            no spread.
        """
        if kind not in get_args(Scaling):
            raise InputError(
                f"SeriesScaler: kind must be one of {get_args(Scaling)}, got {kind!r}."
            )
        shapes = {np.shape(run)[:-1] for run in series.values()}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise InputError(
                f"SeriesScaler: series must be runs (R, T) of the same regions, got {len(series)} "
                f"runs of {sorted(shapes)}."
            )
        values = np.concatenate([np.asarray(run, np.float64) for run in series.values()], axis=1)
        if not np.isfinite(values).all():
            raise InputError(
                "SeriesScaler: series must be finite, got "
                f"{int((~np.isfinite(values)).sum())} values that are not."
            )
        if kind == "robust":
            low, center, high = np.percentile(values, [25, 50, 75], axis=1)
            spread = high - low
        else:
            center, spread = values.mean(axis=1), values.std(axis=1)
        # the standard deviation of equal values may be a rounding error above 0
        flat = np.flatnonzero((np.ptp(values, axis=1) == 0) | (spread == 0))
        if flat.size:
            raise InputError(
                f"SeriesScaler: every region must vary over the training runs, got {flat.size} "
                f"that do not, first region {flat[0]}. Leave them out."
            )
        return cls(kind, center, spread, tuple(series))

    def __call__(self, series: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Scale a run (R, T), or several (N, R, T)."""
        if np.ndim(series) < 2 or np.shape(series)[-2] != len(self.center):
            raise InputError(
                f"SeriesScaler: series must be (..., {len(self.center)}, T), got "
                f"{np.shape(series)}."
            )
        # divide the whole difference
        scaled = (np.asarray(series) - self.center[:, None]) / self.spread[:, None]
        return scaled.astype(np.float32)

    @property
    def scope(self) -> FitScope:
        """Runs used in the fit, for the leak auditor."""
        return FitScope(f"{self.kind} scale of regions", self.fitted_on, unlabelled=True)


@dataclass(frozen=True, eq=False)
class Autoregression:
    """AR(1) prediction of each volume from the previous one, per region: ``m + φ (x[t-1] - m)``.

    This is the baseline for a reconstruction, because a slow signal is easy to predict.

    Parameters
    ----------
    mean, phi : ndarray, (R,) float64
    fitted_on : tuple of str
        Names of the runs used in the fit.
    """

    mean: npt.NDArray[np.float64]
    phi: npt.NDArray[np.float64]
    fitted_on: tuple[str, ...]

    @classmethod
    def fit(cls, series: Mapping[str, npt.NDArray[Any]]) -> Autoregression:
        """Fit by least squares to training runs (R, T); no pair of volumes spans two runs.

        Raises
        ------
        InputError
            As :meth:`SeriesScaler.fit`.
        """
        scale = SeriesScaler.fit(series, kind="z")
        mean = scale.center
        runs = [np.asarray(run, np.float64) - mean[:, None] for run in series.values()]
        across = sum((run[:, 1:] * run[:, :-1]).sum(axis=1) for run in runs)
        power = sum((run[:, :-1] ** 2).sum(axis=1) for run in runs)
        return cls(mean, across / power, tuple(series))

    def __call__(self, series: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Predict volumes 1, 2, ... of runs (..., R, T); returns (..., R, T - 1)."""
        before = np.asarray(series, np.float64)[..., :-1]
        mean = self.mean[:, None]
        return mean + self.phi[:, None] * (before - mean)

    @property
    def scope(self) -> FitScope:
        """Runs used in the fit, for the leak auditor."""
        return FitScope("AR(1) of regions", self.fitted_on, unlabelled=True)


@checked
def resample_series(series: npt.ArrayLike, *, tr: float, new_tr: float) -> npt.NDArray[np.float64]:
    """Resample time courses to another repetition time, with an anti-aliasing filter.

    Uses a polyphase filter (:func:`scipy.signal.resample_poly`); the first sample stays at time 0.

    Parameters
    ----------
    series : array_like, (..., T) float
    tr, new_tr : float
        Seconds. Frequencies above ``1 / (2 new_tr)`` Hz are removed if `new_tr` is longer.

    Returns
    -------
    ndarray, (..., ceil(T · tr / new_tr)) float64

    Raises
    ------
    InputError
        A repetition time is not positive, the ratio of both is not close to a fraction of whole
        numbers up to 1000, there are fewer than two volumes, or a value is not finite.
    """
    from scipy.signal import resample_poly

    values = np.asarray(series, dtype=np.float64)
    if not (0 < tr < np.inf and 0 < new_tr < np.inf):
        raise InputError(
            f"resample_series: tr and new_tr must be positive seconds, got {tr} and {new_tr}."
        )
    if values.ndim < 1 or values.shape[-1] < 2 or not np.isfinite(values).all():
        raise InputError(
            f"resample_series: series must be finite with two volumes or more, got {values.shape}."
        )
    if tr / new_tr > _MOST_STEPS:
        raise InputError(
            f"resample_series: new_tr must be no shorter than {tr} s / {_MOST_STEPS}, got "
            f"{new_tr} s. Both are in seconds."
        )
    ratio = Fraction(tr / new_tr).limit_denominator(_MOST_STEPS)
    if ratio == 0 or abs(float(ratio) * new_tr / tr - 1) * values.shape[-1] > 0.1:
        raise InputError(
            f"resample_series: new_tr must be near {tr} s times a fraction of whole numbers up to "
            f"{_MOST_STEPS}, got {new_tr} s: the run would drift. Round it."
        )
    if ratio == 1:
        return values.copy()
    # the line through both ends is removed before filtering, which avoids ringing at the ends
    return np.asarray(
        resample_poly(values, ratio.numerator, ratio.denominator, axis=-1, padtype="line")
    )
