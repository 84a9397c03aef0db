"""Correlations of the rows, or of the columns, of two arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .._arguments import checked
from ..errors import InputError


@checked
def correlations(predicted: npt.ArrayLike, candidates: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Compute the Pearson correlation of every prediction with every candidate.

    Parameters
    ----------
    predicted : array_like, (N, D)
    candidates : array_like, (M, D)

    Returns
    -------
    ndarray, (N, M) float64

    Raises
    ------
    InputError
        Widths differ, or a row is constant: its correlation is undefined.
    """
    rows = [np.asarray(v, dtype=np.float64) for v in (predicted, candidates)]
    if any(v.ndim != 2 for v in rows) or rows[0].shape[1] != rows[1].shape[1]:
        raise InputError(
            "correlations: predicted and candidates must be (N, D) and (M, D), got "
            f"{rows[0].shape} and {rows[1].shape}."
        )
    unit = []
    for name, values in zip(("predicted", "candidates"), rows, strict=True):
        centred = values - values.mean(axis=1, keepdims=True)
        norms = np.linalg.norm(centred, axis=1, keepdims=True)
        # of a constant row, rounding may leave a norm; NaN fails both comparisons
        varies = (norms > 0) & (np.ptp(values, axis=1, keepdims=True) > 0)
        if not varies.all():
            raise InputError(
                f"correlations: {name} must vary within each row, got "
                f"{int((~varies).sum())} rows that do not."
            )
        unit.append(centred / norms)
    return unit[0] @ unit[1].T


def column_correlations(
    left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Compute the Pearson correlation of each column of an array with that of another, (V,).

    Parameters
    ----------
    left, right : ndarray, (N, V)

    Returns
    -------
    ndarray, (V,) float64
        0 where one of the columns is constant.
    """
    a, b = left - left.mean(axis=0), right - right.mean(axis=0)
    size = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    # of a constant column, rounding may leave a size
    varies = (size > 0) & (np.ptp(left, axis=0) > 0) & (np.ptp(right, axis=0) > 0)
    found: npt.NDArray[np.float64] = np.divide(
        (a * b).sum(axis=0), size, out=np.zeros(len(size)), where=varies
    )
    return found
