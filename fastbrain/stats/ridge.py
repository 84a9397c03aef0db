"""Ridge regression for few samples, with the penalty chosen on left-out groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .._arguments import checked
from ..errors import InputError
from .folds import group_folds

# in units of the mean squared length of a centred sample
PENALTIES = tuple(float(p) for p in np.logspace(-3, 2, 11))


@dataclass(frozen=True, eq=False)
class Ridge:
    """A fitted ridge regression, returned by :func:`fit_ridge`.

    Parameters
    ----------
    x_mean : ndarray, (F,) float64
    y_mean : ndarray, (D,) float64
    weights : ndarray, (F, D) float64
    penalty : float
        In units of the mean squared length of a centred training sample.
    r2 : float
        Share of the targets' variance explained in left-out groups; NaN without groups.
    out_of_fold : ndarray, (N, D) float64, or None
        Prediction of every training sample by a regression fitted without its group: use these to
        train models on the predictions. None without groups.
    """

    x_mean: npt.NDArray[np.float64]
    y_mean: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]
    penalty: float
    r2: float
    out_of_fold: npt.NDArray[np.float64] | None

    def predict(self, x: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Predict targets (N, D) of samples (N, F)."""
        rows = np.asarray(x, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.x_mean):
            raise InputError(f"Ridge.predict: x must be (N, {len(self.x_mean)}), got {rows.shape}.")
        return (rows - self.x_mean) @ self.weights + self.y_mean


@checked
def fit_ridge(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    groups: Sequence[object] | None = None,
    penalties: Sequence[float] = PENALTIES,
    folds: int = 5,
) -> Ridge:
    """Fit ridge regression with the smaller Gram matrix, of samples or of features.

    Parameters
    ----------
    x : array_like, (N, F)
        Samples of the training part only.
    y : array_like, (N, D)
    groups : sequence, (N,), optional
        Passage, story or run of each sample. Whole groups are left out in turn to choose the
        penalty; required with several penalties.
    penalties : sequence of float
        In units of the mean squared length of a centred sample.
    folds : int
        Number of folds; groups are assigned to folds in turn.

    Returns
    -------
    Ridge

    Raises
    ------
    InputError
        Shapes differ, a value is not finite, x is constant, there are fewer than two groups, or
        groups are missing.
    """
    inputs, targets = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    _check(inputs, targets, penalties)
    if groups is None:
        if len(penalties) > 1:
            raise InputError(
                f"fit_ridge: groups must be given to choose among {len(penalties)} penalties, got "
                "none. Name the passage, story or run of each sample."
            )
        r2, best, held = float("nan"), penalties[0], None
    else:
        parts = _parts(groups, len(inputs), folds)
        r2, best, held = _choose(inputs, targets, parts, penalties)
    x_mean, y_mean = inputs.mean(axis=0), targets.mean(axis=0)
    centred = inputs - x_mean
    found = next(_solved(centred, targets - y_mean, [best]))
    weights = found if _few(centred) else centred.T @ found
    return Ridge(x_mean, y_mean, weights, best, r2, held)


@checked
def fold_means(
    y: npt.ArrayLike, *, groups: Sequence[object], folds: int = 5
) -> npt.NDArray[np.float64]:
    """Mean targets that each prediction out of fold regresses to.

    Predictions out of fold minus these means are comparable between folds. Minus the mean of all
    samples they are not: leaving samples out moves the mean of the rest away from them, so that a
    regression without information would predict the opposite of the truth.

    Parameters
    ----------
    y : array_like, (N, D)
        As given to :func:`fit_ridge`.
    groups : sequence, (N,)
    folds : int

    Returns
    -------
    ndarray, (N, D) float64
        Of the samples outside the fold of each sample.

    Raises
    ------
    InputError
        y is not (N, D), or there are fewer than two groups.
    """
    targets = np.asarray(y, dtype=np.float64)
    if targets.ndim != 2:
        raise InputError(f"fold_means: y must be (N, D), got {targets.shape}.")
    parts = _parts(groups, len(targets), folds)
    means = [targets[parts != part].mean(axis=0) for part in range(parts.max() + 1)]
    found: npt.NDArray[np.float64] = np.stack(means)[parts]
    return found


def _check(
    inputs: npt.NDArray[np.float64], targets: npt.NDArray[np.float64], penalties: Sequence[float]
) -> None:
    if inputs.ndim != 2 or targets.ndim != 2 or len(inputs) != len(targets) or len(inputs) < 2:
        raise InputError(
            f"fit_ridge: x and y must be (N >= 2, F) and (N, D), got {inputs.shape} and "
            f"{targets.shape}."
        )
    if not (np.isfinite(inputs).all() and np.isfinite(targets).all()):
        raise InputError("fit_ridge: x and y must be finite, got NaN or infinity.")
    if not len(penalties) or not all(p > 0 for p in penalties):
        raise InputError(f"fit_ridge: penalties must be > 0, got {tuple(penalties)}.")
    if not np.ptp(inputs, axis=0).any():
        raise InputError("fit_ridge: x must vary between samples, got a constant.")


def _parts(groups: Sequence[object], n: int, folds: int) -> npt.NDArray[np.int64]:
    count = len(set(groups))
    if len(groups) != n or count < 2 or folds < 2:
        raise InputError(
            f"fit_ridge: groups must name all {n} samples in two groups or more, with two folds "
            f"or more, got {len(groups)} names of {count} groups and {folds} folds."
        )
    return group_folds(groups, min(folds, count), order="appearance")


def _choose(
    inputs: npt.NDArray[np.float64],
    targets: npt.NDArray[np.float64],
    parts: npt.NDArray[np.int64],
    penalties: Sequence[float],
) -> tuple[float, float, npt.NDArray[np.float64]]:
    predicted = np.empty((len(penalties), *targets.shape))
    for part in np.unique(parts):
        out, fit = parts == part, parts != part
        mean = inputs[fit].mean(axis=0)
        centred, y_mean = inputs[fit] - mean, targets[fit].mean(axis=0)
        across = inputs[out] - mean
        if not _few(centred):
            across = across @ centred.T
        for i, found in enumerate(_solved(centred, targets[fit] - y_mean, penalties)):
            predicted[i, out] = across @ found + y_mean
    error = ((predicted - targets) ** 2).sum(axis=(1, 2))
    best = int(error.argmin())
    spread = ((targets - targets.mean(axis=0)) ** 2).sum()
    r2 = float(1 - error[best] / spread) if spread else 0.0
    return r2, float(penalties[best]), predicted[best]


def _few(centred: npt.NDArray[np.float64]) -> bool:
    """Whether there are fewer features than samples, so that their Gram matrix is smaller."""
    return centred.shape[1] < len(centred)


def _solved(
    centred: npt.NDArray[np.float64], targets: npt.NDArray[np.float64], penalties: Sequence[float]
) -> Iterator[npt.NDArray[np.float64]]:
    """Yield weights (F, D) per penalty, or dual weights (N, D) unless features are fewer."""
    from scipy.linalg import cho_factor, cho_solve

    few = _few(centred)
    gram = centred.T @ centred if few else centred @ centred.T
    # equal samples, for instance the few of one fold: any penalty predicts the mean
    scale = np.trace(gram) / len(centred) or 1.0
    right = centred.T @ targets if few else targets
    for penalty in penalties:
        added = gram + penalty * scale * np.eye(len(gram))
        yield np.asarray(cho_solve(cho_factor(added, lower=True), right))
