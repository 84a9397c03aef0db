"""Remove drifts, fast fluctuations and confounds from the time courses of regions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import CohortError, InputError, VolumeError
from ..readers.tables import number_of, read_tsv
from ..store.denoising.drifts import drift_basis

Units = Literal["psc", "zscore"]
_LEAST_MEAN = 1e-3  # of the median region: below it, percent of the mean has no meaning
_CONSTANT = 1e-6  # of the spread before cleaning
_ROUNDING = 1e-12  # of the largest value: what the regression leaves of a constant region


@checked
def clean_series(
    series: npt.ArrayLike,
    *,
    tr: float,
    high_pass_s: float | None = 128.0,
    low_pass_s: float | None = None,
    confounds: npt.NDArray[np.float64] | None = None,
    units: Units = "psc",
) -> npt.NDArray[np.float64]:
    """Regress nuisances out of one run, all in one step, and convert it to units of the run.

    One regression with all terms does not bring back what an earlier filter removed (Lindquist et
    al. 2019).

    Parameters
    ----------
    series : array_like, (R, T)
        Intensities.
    tr : float
        Seconds.
    high_pass_s : float or None
        Periods longer than this are removed, seconds, with the cosines of :func:`drift_basis`;
        None removes mean and line only.
    low_pass_s : float or None
        Periods shorter than this are removed, seconds, with cosines too.
    confounds : ndarray, (T, K), optional
    units : {"psc", "zscore"}
        Percent of the mean of the region, or standard deviations of the cleaned region.

    Returns
    -------
    ndarray, (R, T) float64

    Raises
    ------
    InputError
        Values are not finite, the band is empty or beyond the sampling, or too few volumes are left
        to the signal.
    VolumeError
        A region has no mean to give percent of, or no signal is left in it.
    """
    values = np.asarray(series, dtype=np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise InputError(f"clean_series: series must be finite, (R, T), got {values.shape}.")
    length = values.shape[1]
    if low_pass_s is not None and not 0 < low_pass_s < (high_pass_s or math.inf):
        raise InputError(
            f"clean_series: low_pass_s must be above 0 and below high_pass_s ({high_pass_s}), got "
            f"{low_pass_s}."
        )
    if low_pass_s is not None and low_pass_s <= 2 * tr:
        raise InputError(
            f"clean_series: low_pass_s must be above two TR ({2 * tr:g} s), below which no period "
            f"can be separated from another, got {low_pass_s:g}. Leave it out for no low-pass."
        )
    parts = [drift_basis(length, tr, high_pass_s).astype(np.float64)]
    if low_pass_s is not None:
        first = math.floor(2 * length * tr / low_pass_s) + 1
        t = (np.arange(length) + 0.5) / length
        parts += [np.cos(np.pi * k * t)[:, None] for k in range(first, length)]
    if confounds is not None:
        if confounds.shape[0] != length or not np.isfinite(confounds).all():
            raise InputError(
                f"clean_series: confounds must be finite, ({length}, K), got {confounds.shape}."
            )
        spread = confounds.std(axis=0)
        parts.append((confounds - confounds.mean(axis=0))[:, spread > 0] / spread[spread > 0])
    nuisance = np.concatenate(parts, axis=1)
    if nuisance.shape[1] > length - 3:
        raise InputError(
            f"clean_series: three volumes or more must be left to the signal, got {length} volumes "
            f"and {nuisance.shape[1]} nuisance terms. Use fewer confounds or a wider band."
        )
    left, sizes, _ = np.linalg.svd(nuisance, full_matrices=False)
    basis = left[:, sizes > sizes[0] * 1e-10]
    cleaned = values - (values @ basis) @ basis.T
    mean, std = values.mean(axis=1), cleaned.std(axis=1)
    least = np.maximum(_CONSTANT * values.std(axis=1), _ROUNDING * np.abs(values).max(axis=1))
    dead = std <= least
    if dead.any():
        raise VolumeError(
            f"clean_series: every region must have a signal left, got none in {int(dead.sum())}, "
            f"first region {int(np.flatnonzero(dead)[0])}. Leave these regions out, for every run."
        )
    if units == "zscore":
        return cleaned / std[:, None]
    low = mean <= _LEAST_MEAN * np.median(np.abs(mean))
    if low.any() or (std > mean).any():
        bad = np.flatnonzero(low | (std > mean))
        raise VolumeError(
            "clean_series: regions must have a positive mean, larger than their fluctuation, to "
            f"give percent of, got others in {len(bad)}, first region {int(bad[0])}. If the images "
            "were centred before, use units 'zscore'."
        )
    return 100 * cleaned / mean[:, None]


def read_confounds(
    path: str | Path, columns: tuple[str, ...], *, volumes: int
) -> npt.NDArray[np.float64]:
    """Read columns of a confounds table as fMRIPrep writes it.

    A missing value in the first row, which derivatives have, is replaced by the mean of the others.

    Returns
    -------
    ndarray, (T, K) float64

    Raises
    ------
    CohortError
        A column or a value is missing, or the number of rows differs from that of the volumes.
    """
    known, rows = read_tsv(path)
    absent = [name for name in columns if name not in known]
    if absent or len(rows) != volumes:
        raise CohortError(
            f"read_confounds: {path} must have {volumes} rows and the columns {', '.join(columns)},"
            f" got {len(rows)} rows and none named {', '.join(absent) or '(all are there)'}."
        )
    found: list[Any] = []
    for name in columns:
        cells = [number_of(row[name], where=f"{row.where} {name}") for row in rows]
        known_ones = [cell for cell in cells[1:] if cell is not None]
        if len(known_ones) != len(cells) - 1:
            raise CohortError(
                f"read_confounds: {path} must have a number in every row of {name} after the first,"
                f" got {len(cells) - 1 - len(known_ones)} without. Choose other columns."
            )
        first = float(np.mean(known_ones)) if cells[0] is None else cells[0]
        found.append([first, *known_ones])
    return np.array(found, dtype=np.float64).T
