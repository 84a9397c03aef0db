"""Features of functional connectomes: Fisher z, and the tangent space at a mean connectome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ..leaks.fit_scope import FitScope

LIMIT = 1 - 1e-6  # a correlation of one has no Fisher z
_ROUNDING = 1e-6  # of a correlation, in float32
_LEAST = 1e-6  # eigenvalue: what is no correlation matrix may have negative ones
Array = npt.NDArray[np.float64]


@checked
def fisher_z(correlations: npt.ArrayLike) -> Array:
    """Compute Fisher z (inverse hyperbolic tangent) of correlations.

    Parameters
    ----------
    correlations : array_like, any shape
        In [-1, 1]; clipped to ±0.999999.

    Returns
    -------
    ndarray, the same shape, float64

    Raises
    ------
    InputError
        A value is not a correlation.
    """
    return np.asarray(np.arctanh(_checked("fisher_z", correlations).clip(-LIMIT, LIMIT)))


@dataclass(frozen=True, eq=False)
class TangentSpace:
    """Tangent space at the mean connectome of training people; from :func:`fit_tangent_space`.

    Parameters
    ----------
    whitening : ndarray, (P, P) float64
        Inverse square root of the mean correlation matrix.
    shrinkage : float
        Weight of the identity in every correlation matrix.
    scope : FitScope
        People used in the fit, for the leak auditor.
    """

    whitening: Array
    shrinkage: float
    scope: FitScope

    def transform(self, correlations: npt.ArrayLike) -> Array:
        """Map connectomes to the logarithm of their whitened correlation matrix.

        Parameters
        ----------
        correlations : array_like, (N, P·(P-1)/2)
            Lower triangles, by rows.

        Returns
        -------
        ndarray, (N, P·(P+1)/2) float64
            Lower triangles of the logarithms, times √2, then the diagonals: Euclidean distances of
            these rows are Frobenius distances of the matrices.

        Raises
        ------
        InputError
            The number of regions differs, or a value is not a correlation.
        """
        matrices = _matrices("TangentSpace.transform", correlations, self.shrinkage)
        if matrices.shape[1:] != self.whitening.shape:
            raise InputError(
                f"TangentSpace.transform: correlations must be of {len(self.whitening)} regions, "
                f"got {matrices.shape[1]}."
            )
        logs = _spectral(np.log, self.whitening @ matrices @ self.whitening)
        rows, columns = np.tril_indices(len(self.whitening), -1)
        # an element off the diagonal stands for two
        return np.concatenate(
            [np.sqrt(2) * logs[:, rows, columns], np.diagonal(logs, axis1=1, axis2=2)], axis=1
        )


@checked
def fit_tangent_space(
    correlations: npt.ArrayLike, *, fitted_on: Sequence[str], shrinkage: float = 0.1
) -> TangentSpace:
    """Fit the tangent space of correlation matrices at their mean (Varoquaux et al. 2010).

    Parameters
    ----------
    correlations : array_like, (N, P·(P-1)/2)
        Lower triangles, by rows, of the training people only.
    fitted_on : sequence of str, (N,)
        Ids of these people.
    shrinkage : float
        Weight of the identity in every correlation matrix, in [0, 1): few volumes give matrices
        without a logarithm.

    Returns
    -------
    TangentSpace

    Raises
    ------
    InputError
        The numbers of rows and ids differ or are 0, rows are not lower triangles, a value is not a
        correlation, or `shrinkage` is out of range.
    """
    if not 0 <= shrinkage < 1:
        raise InputError(f"fit_tangent_space: shrinkage must be in [0, 1), got {shrinkage}.")
    matrices = _matrices("fit_tangent_space", correlations, shrinkage)
    if not len(matrices) or len(fitted_on) != len(matrices):
        raise InputError(
            f"fit_tangent_space: fitted_on must name all of 1 person or more, got {len(fitted_on)} "
            f"names of {len(matrices)}."
        )
    whitening = _spectral(lambda v: v**-0.5, matrices.mean(axis=0))
    people = tuple(str(person) for person in fitted_on)
    return TangentSpace(whitening, shrinkage, FitScope("tangent space", people, unlabelled=True))


def _checked(function: str, correlations: npt.ArrayLike) -> Array:
    values = np.asarray(correlations, dtype=np.float64)
    good = np.abs(values) <= 1 + _ROUNDING  # False for NaN
    if not good.all():
        raise InputError(
            f"{function}: correlations must be in [-1, 1], got {int((~good).sum())} values that "
            "are not. Leave those people or regions out, and say how many."
        )
    return values


def _matrices(function: str, correlations: npt.ArrayLike, shrinkage: float) -> Array:
    """Shrunk correlation matrices (N, P, P) of lower triangles."""
    values = _checked(function, correlations)
    size = round((1 + np.sqrt(1 + 8 * values.shape[-1])) / 2) if values.ndim == 2 else 0
    if size < 2 or size * (size - 1) // 2 != values.shape[1]:
        raise InputError(
            f"{function}: correlations must be (N, P·(P-1)/2), lower triangles of P regions, got "
            f"{values.shape}."
        )
    rows, columns = np.tril_indices(size, -1)
    found = np.tile(np.eye(size), (len(values), 1, 1))
    found[:, rows, columns] = found[:, columns, rows] = (1 - shrinkage) * values
    return found


def _spectral(function: Callable[[Array], Array], matrices: Array) -> Array:
    """Apply a function to the eigenvalues of symmetric matrices (..., P, P)."""
    values, vectors = np.linalg.eigh(matrices)
    scaled = vectors * function(values.clip(_LEAST))[..., None, :]
    return np.asarray(scaled @ np.swapaxes(vectors, -1, -2))
