"""Slow drifts of a run: the regressors of the high-pass filter."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ....errors import InputError
from ...readers.timing import TOLERANCE


def drift_basis(n_volumes: int, tr: float, high_pass_s: float | None) -> npt.NDArray[np.float32]:
    """Build an orthonormal basis of constant, line and cosines slower than the cut-off.

    The cosines are the discrete cosine transform basis of SPM and fMRIPrep, orders
    ``1 .. floor(2 · T · TR / high_pass_s)``.

    Parameters
    ----------
    n_volumes : int
    tr : float
        Seconds.
    high_pass_s : float or None
        Shortest period that is removed, seconds; None removes constant and line only.

    Returns
    -------
    ndarray, (T, K) float32

    Raises
    ------
    InputError
        The cut-off is not positive, or the run has too few volumes for the basis.
    """
    if high_pass_s is not None and not high_pass_s > 0:
        raise InputError(f"drift_basis: high_pass_s must be > 0 or None, got {high_pass_s}.")
    order = 0 if high_pass_s is None else math.floor(2 * n_volumes * tr / high_pass_s + TOLERANCE)
    if n_volumes < order + 4:
        remedy = "Use a longer high_pass_s." if order else "Leave the run out."
        raise InputError(
            f"drift_basis: a run must have at least {order + 4} volumes to remove {order} cosines "
            f"and a line, got {n_volumes}. {remedy}"
        )
    t = (np.arange(n_volumes) + 0.5) / n_volumes
    columns = [np.ones_like(t), t - 0.5, *(np.cos(np.pi * k * t) for k in range(1, order + 1))]
    basis, _ = np.linalg.qr(np.stack(columns, axis=1))
    return np.ascontiguousarray(basis, dtype=np.float32)
