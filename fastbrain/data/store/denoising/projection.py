"""One projection that removes drifts and confounds of a run together.

To remove them one after the other would bring back what the first step took out, wherever the
regressors of both are correlated (Lindquist et al., 2019). The columns of both are therefore
orthonormalised together, over the volumes that are not censored. A censored volume does not enter
the fit; its own values are what remains after the regressors times the coefficients of the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ....errors import InputError
from .drifts import drift_basis

Array = npt.NDArray[np.float64]
_DEPENDENT = 1e-5  # of a unit column, below which a direction is a combination of others
_CONSTANT = 1e-9  # of the largest value
_LEAST_KEPT = 0.2  # of the volumes must be left to the signal where confounds are removed
_LEAST = 4


@dataclass(frozen=True, eq=False)
class Projection:
    """Regressors of a run, orthonormal over the volumes of the fit.

    ``x - basis @ (fit.T @ x)`` removes them from (T, V).

    Parameters
    ----------
    basis : ndarray, (T, R) float32
        Regressors at all volumes.
    fit : ndarray, (T, R) float32
        The same, 0 at censored volumes.
    confounds : int
        Regressors beside the drifts.
    dependent : int
        Confounds that are constant, or combinations of drifts and other confounds.
    """

    basis: npt.NDArray[np.float32]
    fit: npt.NDArray[np.float32]
    confounds: int
    dependent: int


def projection_of(
    n_volumes: int,
    tr: float,
    high_pass_s: float | None,
    confounds: Array | None = None,
    censored: npt.NDArray[np.bool_] | None = None,
) -> Projection:
    """Join drifts and confounds to one projection.

    Parameters
    ----------
    n_volumes : int
    tr : float
        Seconds.
    high_pass_s : float or None
        As in :func:`fastbrain.data.store.denoising.drifts.drift_basis`.
    confounds : ndarray, (T, K) float64, optional
        In any units; columns that add nothing are left out.
    censored : ndarray, (T,) bool, optional

    Raises
    ------
    InputError
        Confounds are not finite or of another length; the run is too short for its filter; or
        fewer than 20 % of the volumes, or four, are left to the signal.
    """
    drifts = drift_basis(n_volumes, tr, high_pass_s)
    plain = censored is None or not censored.any()
    if plain and (confounds is None or not confounds.shape[1]):
        return Projection(drifts, drifts, 0, 0)
    kept = np.ones(n_volumes, dtype=bool) if censored is None else ~censored
    columns = np.zeros((n_volumes, 0)) if confounds is None else confounds
    if len(columns) != n_volumes or len(kept) != n_volumes or not np.isfinite(columns).all():
        raise InputError(
            f"projection_of: confounds and censored must be finite and of {n_volumes} volumes, got "
            f"{columns.shape} and {kept.shape}."
        )
    count, slow = int(kept.sum()), drifts.shape[1]
    if count < slow + _LEAST:
        raise InputError(
            f"projection_of: {slow + _LEAST} volumes or more must be left for the filter, got "
            f"{count} of {n_volumes} that are not censored. Leave the run out, or raise the "
            "thresholds."
        )
    first = _orthonormal(drifts.astype(np.float64), kept)
    second = _orthonormal(_beside(columns, first, kept), kept)
    found = second.shape[1]
    left = count - first.shape[1] - found
    if left < max(_LEAST, _LEAST_KEPT * count):
        raise InputError(
            f"projection_of: a fifth of the volumes must be left to the signal, got {left} of "
            f"{count} after {slow} drifts and {found} confounds. Choose fewer confounds."
        )
    basis = np.concatenate([first, second], axis=1)
    fit = np.where(kept[:, None], basis, 0)
    return Projection(
        np.ascontiguousarray(basis, dtype=np.float32),
        np.ascontiguousarray(fit, dtype=np.float32),
        confounds=found,
        dependent=columns.shape[1] - found,
    )


def _beside(columns: Array, basis: Array, kept: npt.NDArray[np.bool_]) -> Array:
    """Scale columns to unit length without their mean, and remove the directions of a basis."""
    centred = columns - columns[kept].mean(axis=0)
    size = np.linalg.norm(centred[kept], axis=0)
    # a centred constant column is rounding error and must not become a direction
    varies = size > _CONSTANT * np.abs(columns[kept]).max(axis=0, initial=0)
    scaled = centred[:, varies] / size[varies]
    for _ in range(2):  # once leaves rounding errors of columns that are almost in the basis
        scaled = scaled - basis @ (basis[kept].T @ scaled[kept])
    return np.asarray(scaled)


def _orthonormal(columns: Array, kept: npt.NDArray[np.bool_]) -> Array:
    """Combine columns so that they are orthonormal over the kept volumes; dependent ones go."""
    if not columns.shape[1]:
        return columns
    _, strength, directions = np.linalg.svd(columns[kept], full_matrices=False)
    strong = strength > _DEPENDENT
    return np.asarray(columns @ (directions[strong].T / strength[strong]))
