"""Encoding models: predict responses to a text, and the likelihood of measured responses.

Re-implemented from Tang et al. 2023 (Nat. Neurosci. 26:858): ridge regression from delayed word
features to responses, and a Gaussian noise model over voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .._arguments import checked
from ..errors import InputError
from ..evaluation.analyses.noise_ceiling import CeilingComparison, beside_ceiling
from ..stats.correlations import column_correlations
from ..stats.ridge import PENALTIES, fit_ridge

Array = npt.NDArray[np.float64]
DELAYS = (1, 2, 3, 4)


@dataclass(frozen=True, eq=False)
class EncodingModel:
    """A fitted encoding model; returned by :func:`fit_encoding`.

    Parameters
    ----------
    weights : ndarray, (L, D, V) float64
        Weights from features to responses, for each delay.
    intercept : ndarray, (V,) float64
    whitener : ndarray, (V, V) float64
        Transforms noise to independent noise of variance 1 (noise @ whitener).
    voxels : ndarray, (V,) int64
        Indices of the chosen voxels.
    correlation : ndarray, (A,) float64
        Correlation of every voxel with its prediction in left-out groups of the training part.
    delays : tuple of int
        Delays in volumes, (L,).
    penalty : float
    fitted_on : tuple of str
        Training samples.
    """

    weights: Array
    intercept: Array
    whitener: Array
    voxels: npt.NDArray[np.int64]
    correlation: Array
    delays: tuple[int, ...]
    penalty: float
    fitted_on: tuple[str, ...]

    def predict(self, stimulus: npt.ArrayLike) -> Array:
        """Predict responses (T, V) of the chosen voxels from features of volumes (T, D)."""
        given = np.asarray(stimulus, dtype=np.float64)
        flat = self.weights.reshape(-1, self.weights.shape[2])
        predicted: Array = delayed(given, self.delays) @ flat + self.intercept
        return predicted

    def whitened(self, responses: npt.ArrayLike) -> Array:
        """Select the chosen voxels of responses (T, A), subtract the intercept and whiten, (T, V).

        Raises
        ------
        InputError
            The number of voxels differs from training, or a value is not finite.
        """
        given = np.asarray(responses, dtype=np.float64)
        if given.ndim != 2 or given.shape[1] != len(self.correlation):
            raise InputError(
                f"EncodingModel: responses must be (T, {len(self.correlation)}), got {given.shape}."
            )
        if not np.isfinite(given).all():
            raise InputError("EncodingModel: responses must be finite, got NaN or infinity.")
        result: Array = (given[:, self.voxels] - self.intercept) @ self.whitener
        return result

    def beside_ceiling(self, ceiling: npt.ArrayLike) -> CeilingComparison:
        """Put the left-out correlations of the chosen voxels beside their noise ceiling.

        Parameters
        ----------
        ceiling : array_like, (A,)
            Of all voxels, from :func:`fastbrain.evaluation.split_half_ceiling` or
            :func:`fastbrain.evaluation.inter_subject_ceiling`.

        Raises
        ------
        InputError
            The number of voxels differs from training.
        """
        top = np.asarray(ceiling, dtype=np.float64)
        if top.shape != self.correlation.shape:
            raise InputError(
                f"EncodingModel.beside_ceiling: ceiling must be {self.correlation.shape}, got "
                f"{top.shape}."
            )
        return beside_ceiling(self.correlation[self.voxels], top[self.voxels])

    def log_likelihood(self, stimulus: npt.ArrayLike, responses: npt.ArrayLike) -> float:
        """Log likelihood of responses (T, A) given features (T, D), up to a constant."""
        mean = (self.predict(stimulus) - self.intercept) @ self.whitener
        return float(-0.5 * ((self.whitened(responses) - mean) ** 2).sum())


@checked
def fit_encoding(
    stimulus: npt.ArrayLike,
    responses: npt.ArrayLike,
    *,
    fitted_on: Sequence[str],
    groups: Sequence[object],
    runs: Sequence[object] | None = None,
    delays: Sequence[int] = DELAYS,
    voxels: int = 10_000,
    shrinkage: float = 2 / 3,
    penalties: Sequence[float] = PENALTIES,
) -> EncodingModel:
    """Fit ridge weights and the noise covariance on the training part.

    Parameters
    ----------
    stimulus : array_like, (T, D)
        Features of each volume; ``fastbrain.data.lanczos_downsample`` makes them.
    responses : array_like, (T, A)
    fitted_on : sequence of str
        Ids of the samples that the rows come from.
    groups : sequence, (T,)
        Stories or stretches of volumes that are left out in turn. Left-out predictions choose the
        penalty and the voxels, and their residuals give the noise covariance.
    runs : sequence, (T,), optional
        Run of each row; rows of a run are contiguous, and delays do not cross runs. Default: one.
    delays : sequence of int
        Delays in volumes between stimulus and response.
    voxels : int
        Maximum number of voxels to keep, those with the best predictions.
    shrinkage : float
        Weight of the diagonal in the noise covariance, in (0, 1].
    penalties : sequence of float
        As in :func:`fit_ridge`; one penalty is chosen for all voxels.

    Returns
    -------
    EncodingModel

    Raises
    ------
    InputError
        Shapes disagree, `fitted_on` is empty, an option is out of range, or :func:`fit_ridge`
        raises it.
    """
    given, found = (np.asarray(v, dtype=np.float64) for v in (stimulus, responses))
    sizes_fit = given.ndim == 2 and found.ndim == 2 and len(given) == len(found) == len(groups)
    in_range = len(delays) and min(delays, default=-1) >= 0 and voxels >= 1 and 0 < shrinkage <= 1
    if not (sizes_fit and in_range and len(fitted_on)):
        raise InputError(
            "fit_encoding: stimulus, responses and groups must be (T, D), (T, A) and (T,), delays "
            ">= 0, voxels >= 1, shrinkage in (0, 1] and fitted_on not empty, got "
            f"{given.shape}, {found.shape}, {len(groups)}, {tuple(delays)}, {voxels}, {shrinkage} "
            f"and {len(fitted_on)}."
        )
    inputs = delayed(given, delays, runs)
    ridge = fit_ridge(inputs, found, groups=groups, penalties=penalties)
    assert ridge.out_of_fold is not None
    correlation = column_correlations(ridge.out_of_fold, found)
    kept = np.sort(np.argsort(-correlation, kind="stable")[:voxels])
    noise = (found - ridge.out_of_fold)[:, kept]
    covariance = noise.T @ noise / len(noise)
    own = np.diag(covariance).copy()
    # a constant voxel has zero variance: give it the largest one, so that it has little weight
    own[own <= 0] = own.max() or 1.0
    covariance = (1 - shrinkage) * covariance
    covariance[np.diag_indices(len(own))] = own
    from scipy.linalg import cholesky, solve_triangular

    lower = cholesky(covariance, lower=True)
    whitener = solve_triangular(lower, np.eye(len(lower)), lower=True).T
    weights = ridge.weights[:, kept]
    intercept = ridge.y_mean[kept] - ridge.x_mean @ weights
    return EncodingModel(
        weights.reshape(len(delays), given.shape[1], len(kept)),
        intercept,
        whitener,
        kept,
        correlation,
        tuple(delays),
        ridge.penalty,
        tuple(fitted_on),
    )


def delayed(stimulus: Array, delays: Sequence[int], runs: Sequence[object] | None = None) -> Array:
    """Stack delayed copies of features (T, D) to (T, L·D); zeros before the start of a run."""
    rows = np.arange(len(stimulus))
    starts = np.zeros(len(rows), dtype=np.int64)
    if runs is not None:
        if len(runs) != len(rows):
            raise InputError(f"delayed: runs must name all {len(rows)} rows, got {len(runs)}.")
        new = [i for i in range(len(rows)) if i == 0 or runs[i] != runs[i - 1]]
        starts = np.repeat(new, np.diff([*new, len(rows)]))
    parts = []
    for delay in delays:
        source = rows - delay
        parts.append(stimulus[np.maximum(source, 0)] * (source >= starts)[:, None])
    return np.concatenate(parts, axis=1)
