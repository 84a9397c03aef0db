"""Recordings that are no volumes: vertices, grayordinates or parcels over time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import InputError, VolumeError
from .findings import Finding, refuse
from .header_checks import TR_RANGE_S
from .locations import Locations, column_order
from .timing import CORRECT_TR, TR_TOLERANCE_S
from .volumes import Volumes

MAX_BYTES = 16 << 30


@dataclass(frozen=True, eq=False)
class Series(Volumes):
    """One run of V values a volume, as volumes of shape (T, 1, 1, V).

    Parameters
    ----------
    locations : Locations
        Places of the values.
    valid : ndarray, (V,) bool, or None
        Locations with a signal in this run; None: not known before the values are read.
    """

    locations: Locations = field(default_factory=Locations)
    valid: npt.NDArray[np.bool_] | None = None

    def take(self, parcels: tuple[str, ...]) -> Series:
        """Return the series with these parcels, in this order.

        Raises
        ------
        CohortError
            A parcel is missing.
        """
        own = self.locations
        if own.parcels == parcels:
            return self
        columns = column_order(own.parcels, parcels, path=self.path)
        centers = None if own.centers_mm is None else own.centers_mm[columns]
        return replace(
            self,
            shape=(self.shape[0], 1, 1, len(columns)),
            locations=replace(own, parcels=parcels, centers_mm=centers),
            valid=None if self.valid is None else self.valid[columns],
            _file=_Columns(self, columns),
        )


@dataclass(frozen=True, eq=False)
class _Columns:
    """Some columns of a series."""

    series: Series
    columns: list[int]

    def read(self) -> npt.NDArray[Any]:
        return self.series.raw()[..., self.columns]


@dataclass(frozen=True, eq=False)
class Values:
    """Values in memory, (T, 1, 1, V)."""

    values: npt.NDArray[Any]

    def read(self) -> npt.NDArray[Any]:
        """Return the values."""
        return self.values


def checked_tr(path: Path, stated: float | None, tr: float | None) -> tuple[float, list[Finding]]:
    """Return the repetition time of a series in seconds, with findings.

    Parameters
    ----------
    path : Path
    stated : float or None
        Time that the file states, seconds.
    tr : float or None
        Time given by the caller, seconds.

    Raises
    ------
    VolumeError
        Neither states a time, or they differ by more than 1 ms.
    """
    low, high = TR_RANGE_S
    if tr is not None and not low <= tr <= high:
        raise InputError(f"load_volumes: tr must lie in {low}..{high} s, got {tr}.")
    if stated is None or not low <= stated <= high:
        if tr is None:
            said = "none" if stated is None else f"{stated:g}"
            message = f"must be a repetition time of {low}..{high} s, got {said}. Pass tr=, or "
            message += "state it in the sidecar or the column tr of the runs table."
            refuse(path, [Finding("error", "time step", message)])
            raise AssertionError
        if stated is None:
            return tr, []
        return tr, [Finding("note", "time step", f"{stated:g} s is overruled by tr={tr:g} s.")]
    if tr is not None and abs(stated - tr) > TR_TOLERANCE_S:
        raise VolumeError(
            f"load: {path}: time step must agree with tr={tr:g} s within 1 ms, got {stated:g} s. "
            f"{CORRECT_TR}"
        )
    return (stated if tr is None else tr), []


def check_size(path: Path, shape: tuple[int, int], itemsize: int, max_bytes: int) -> None:
    """Raise for an impossible or too large (T, V).

    Raises
    ------
    VolumeError
    """
    nbytes = shape[0] * shape[1] * itemsize
    if min(shape) < 1 or nbytes > max_bytes:
        raise VolumeError(
            f"load: {path} must hold volumes of values with at most {max_bytes} bytes in all, got "
            f"{shape[0]} volumes of {shape[1]}. Pass max_bytes= if it is really that large."
        )
