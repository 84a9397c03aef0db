"""Correlation of every prediction with every candidate."""

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
        # negated comparison: NaN fails the check
        if not (norms > 0).all():
            raise InputError(
                f"correlations: {name} must vary within each row, got "
                f"{int((~(norms > 0)).sum())} rows that do not."
            )
        unit.append(centred / norms)
    return unit[0] @ unit[1].T
