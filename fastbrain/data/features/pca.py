"""Exact out-of-core PCA of few rows with very many voxels.

With T rows and V ≫ T voxels, the T × T matrix of inner products is sufficient. It is summed over
blocks of voxels in float64, so that neither all voxels nor their covariance are in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import ConfigError, InputError
from ..leaks.fit_scope import FitScope
from ..store.out_of_core import VoxelRows

STANDARDISATIONS = ("centre", "zscore")
_MOST_ROWS = 20_000  # the matrix of inner products then takes 3 GiB
_BLOCK_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class PCA:
    """Principal components of training rows; from :func:`fit_pca`.

    Parameters
    ----------
    components : ndarray, (k, V) float32
        Orthonormal rows by decreasing variance; the loading largest in magnitude is positive.
    variance : ndarray, (k,) float64
        Variance of each component over the training rows, divisor N - 1.
    total_variance : float
        Sum of the variances of all voxels, after standardisation.
    mean : ndarray, (V,) float64
        Mean of the training rows.
    inv_std : ndarray, (V,) float64
        Factor on each centred voxel: 1, or 1/std under ``"zscore"``; 0 for constant voxels.
    constant : int
        Number of voxels that are constant over the training rows; their loadings are 0.
    scope : FitScope
        Samples used in the fit, for the leak auditor.
    """

    components: npt.NDArray[np.float32]
    variance: npt.NDArray[np.float64]
    total_variance: float
    mean: npt.NDArray[np.float64]
    inv_std: npt.NDArray[np.float64]
    constant: int
    scope: FitScope

    @property
    def explained(self) -> npt.NDArray[np.float64]:
        """Share of the total variance of each component, (k,)."""
        return self.variance / self.total_variance

    def transform(self, rows: VoxelRows, *, whiten: bool = False) -> npt.NDArray[np.float32]:
        """Project rows onto the components, block by block.

        Parameters
        ----------
        rows : VoxelRows, (M, V)
        whiten : bool
            Whether to scale every component to unit variance over the training rows.

        Returns
        -------
        ndarray, (M, k) float32

        Raises
        ------
        InputError
            The number of voxels differs, or a value is not finite.
        """
        if rows.shape[1] != len(self.mean):
            raise InputError(
                f"PCA.transform: rows must have {len(self.mean)} voxels, got {rows.shape[1]}."
            )
        result = np.zeros((rows.shape[0], len(self.components)))
        for part, stored in _blocks(rows):
            _refuse_non_finite("PCA.transform", stored, part)
            block = stored * np.float64(rows.scale)
            block -= self.mean[part]
            block *= self.inv_std[part]
            result += block @ self.components[:, part].T.astype(np.float64)
        if whiten:
            result /= np.sqrt(self.variance)
        return result.astype(np.float32)


@checked
def fit_pca(
    rows: VoxelRows, k: int, *, fitted_on: Sequence[str], standardise: str = "centre"
) -> PCA:
    """Fit the first k principal components exactly.

    Parameters
    ----------
    rows : VoxelRows, (N, V)
        Rows of the training part only: ``StoreRows(store, store.split.train)`` or
        ``ArrayRows(array, train_rows)``.
    k : int
        Number of components; BrainLLM uses 1,000 (arXiv 2311.09889).
    fitted_on : sequence of str
        Ids of the samples that the rows come from.
    standardise : {"centre", "zscore"}
        ``"zscore"`` also divides voxels by their standard deviation over the rows.

    Returns
    -------
    PCA

    Raises
    ------
    InputError
        k is not in [1, rank], there are more than 20,000 rows, no samples are named, a value is
        not finite, or no voxel varies.
    ConfigError
        `standardise` is unknown.

    Notes
    -----
    The fit makes two passes over the voxels; memory holds a few N × N matrices, one block and the
    components. Directions with a variance below about 2e-16 N of the largest are lost in rounding
    and do not count in the rank.
    """
    n, voxels = rows.shape
    if standardise not in STANDARDISATIONS:
        raise ConfigError(
            f"fit_pca: standardise must be one of {STANDARDISATIONS}, got {standardise!r}."
        )
    if not 2 <= n <= _MOST_ROWS or not fitted_on:
        raise InputError(
            f"fit_pca: rows must be 2 to {_MOST_ROWS} with the samples they come from, got {n} "
            f"rows and {len(fitted_on)} samples. Take every other volume."
        )
    gram = np.zeros((n, n))
    mean, inv_std = np.zeros(voxels), np.zeros(voxels)
    buffer: npt.NDArray[Any] = np.empty((n, _width(n, voxels)))
    products = np.empty_like(gram)
    for part, stored in _blocks(rows):
        _refuse_non_finite("fit_pca", stored, part)
        varies = (stored != stored[:1]).any(axis=0)
        block = np.multiply(stored, np.float64(rows.scale), out=buffer[:, : stored.shape[1]])
        mean[part] = block.mean(axis=0)
        block -= mean[part]
        inv_std[part] = varies
        if standardise == "zscore":
            std = np.sqrt(np.einsum("ij,ij->j", block, block) / n)
            inv_std[part] = np.divide(1.0, std, out=np.zeros_like(std), where=varies)
            block *= inv_std[part]
        # for a matrix times its own transpose numpy computes one half and mirrors it
        gram += np.matmul(block, block.T, out=products)
    del products
    constant = int((inv_std == 0).sum())
    total = float(np.trace(gram)) / (n - 1)
    if constant == voxels:
        raise InputError(f"fit_pca: a voxel must vary, got {voxels} that are constant.")
    # all eigenvectors by divide and conquer are faster than a subset by bisection
    values, basis = np.linalg.eigh(gram)
    values, basis = values[::-1], basis[:, ::-1]
    rank = int((values > n * np.finfo(np.float64).eps * values[0]).sum())
    if not 1 <= k <= rank:
        raise InputError(
            f"fit_pca: k must be in [1, rank], got {k} for {n} rows of {voxels} voxels ({constant} "
            f"constant) of rank {rank}. Centring takes one rank of the rows."
        )
    values, basis = values[:k], basis[:, :k]
    # rounding grows with the ratio of the first component to the last: here to 6e-6 at most
    precision = np.float32 if values[0] < 1e4 * values[-1] else np.float64
    weights = np.ascontiguousarray((basis * (rows.scale / np.sqrt(values))).T, dtype=precision)
    components = np.empty((k, voxels), dtype=np.float32)
    buffer = np.empty_like(buffer, dtype=precision)
    for part, stored in _blocks(rows):
        block = buffer[:, : stored.shape[1]]
        # subtracted in float64; only the result is rounded to `precision`
        centre = mean[part] / rows.scale
        np.subtract(stored, centre, out=block, dtype=np.float64, casting="same_kind")
        if standardise == "zscore":
            block *= inv_std[part].astype(precision)
        components[:, part] = weights @ block
    # row by row: the absolute values of all components at once would double the memory
    for component in components:
        component *= np.sign(component[np.abs(component).argmax()])
    scope = FitScope(f"PCA of {k} components", tuple(fitted_on))
    return PCA(components, values / (n - 1), total, mean, inv_std, constant, scope)


def _width(n: int, voxels: int) -> int:
    return max(1, min(voxels, _BLOCK_BYTES // (8 * max(n, 1))))


def _blocks(rows: VoxelRows) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
    voxels = rows.shape[1]
    width = _width(*rows.shape)
    for start in range(0, voxels, width):
        part = slice(start, min(start + width, voxels))
        yield part, rows.columns(part.start, part.stop)


def _refuse_non_finite(name: str, stored: npt.NDArray[Any], part: slice) -> None:
    if np.issubdtype(stored.dtype, np.integer):
        return
    bad = int(stored.size - np.isfinite(stored).sum())
    if bad:
        raise InputError(
            f"{name}: rows must be finite, got {bad} values that are not among voxels "
            f"{part.start} to {part.stop - 1}."
        )
