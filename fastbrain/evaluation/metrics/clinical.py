"""Scores of predicted ages, clinical scales and labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ...stats.exchangeability import permuted_rows, resampled_rows
from ...stats.inference import Interval, permutation_p
from ..scores import Score
from .scale_metrics import SIGNS, over_draws, scale_metrics

Vector = npt.NDArray[np.float64]
_BINS = 10


@checked(least={"permutations": 1, "resamples": 1})
def scale_scores(
    truth: npt.ArrayLike,
    predicted: npt.ArrayLike,
    *,
    groups: Sequence[object] | None = None,
    strata: Sequence[object] | None = None,
    permutations: int = 999,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Score]:
    """Score predictions of an age or a clinical scale for held-out subjects.

    Parameters
    ----------
    truth, predicted : array_like, (N >= 3,)
        Values in the unit of the scale, for instance years.
    groups : sequence, (N,), optional
        Family (or subject, if subjects were scanned twice); resampled and permuted as a whole.
    strata : sequence, (N,), optional
        Site; permutations stay within a site, so that site differences do not lower p.
    permutations : int
        Number of permutations of the predictions, for chance and p. Predictions of
        cross-validation folds are slightly dependent: for a p near the threshold, refit the model
        for each permutation.
    resamples : int
    seed : int

    Returns
    -------
    dict of str to Score
        ``mae`` and ``rmse`` in the scale's unit (lower is better), ``r2`` (1 minus squared error
        over the variance of `truth`; below zero is worse than the mean), ``r`` (Pearson; 0 for
        constant predictions), and, without a better direction and therefore without a p,
        ``calibration_slope`` and ``calibration_intercept`` of `truth` regressed on `predicted`
        (ideal: 1 and 0; slope 0 for constant predictions), ``prediction_slope`` of `predicted`
        regressed on `truth` and ``sd_ratio`` (standard deviation of `predicted` over that of
        `truth`), which are below 1 for predictions that are too close to their mean.

    Raises
    ------
    InputError
        A value is not finite, truth is constant, lengths differ, or no permutation is possible.
    """
    true, guess = (
        _finite("scale_scores", truth, "truth"),
        _finite("scale_scores", predicted, "predicted"),
    )
    if true.ndim != 1 or true.shape != guess.shape or len(true) < 3:
        raise InputError(
            f"scale_scores: truth and predicted must be (N >= 3,), got {true.shape} and "
            f"{guess.shape}."
        )
    if np.ptp(true) == 0:
        raise InputError(
            f"scale_scores: truth must vary, got {true[0]} for every subject: R2 and r are "
            "undefined."
        )
    resampled = [
        rows
        for rows in resampled_rows(len(true), groups, resamples, seed)
        if np.ptp(true[rows]) > 0
    ]
    # as given, then permuted
    permuted = permuted_rows(len(true), groups, strata, permutations, seed)
    found = over_draws(
        [np.arange(len(true)), *permuted], lambda rows: scale_metrics(true, guess[rows])
    )
    spread = over_draws(resampled, lambda rows: scale_metrics(true[rows], guess[rows]))
    return {
        name: _scored(name, sign, float(found[name][0]), found[name][1:], spread[name], len(true))
        for name, sign in SIGNS.items()
    }


@checked(least={"permutations": 1, "resamples": 1})
def label_scores(
    truth: Sequence[object],
    probabilities: npt.ArrayLike,
    classes: Sequence[object],
    *,
    groups: Sequence[object] | None = None,
    strata: Sequence[object] | None = None,
    permutations: int = 999,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Score]:
    """Score predicted class probabilities for held-out subjects.

    Parameters
    ----------
    truth : sequence, (N,)
        Labels from `classes`; at least two classes occur.
    probabilities : array_like, (N, C)
        In [0, 1], rows sum to 1.
    classes : sequence, (C,)
    groups, strata, permutations, resamples, seed
        As in :func:`scale_scores`. Resamples with a single class are dropped.

    Returns
    -------
    dict of str to Score
        ``auroc`` (one-vs-rest, mean over the classes that occur; ties count a half),
        ``balanced_accuracy`` (mean recall of the classes that occur; among equally likely classes
        the first is predicted), and ``calibration_error`` (expected difference between the
        probability of the predicted class and its accuracy, ten bins; lower is better).

    Raises
    ------
    InputError
        Only one class occurs, a class is unknown, or rows of probabilities are invalid.
    """
    names = list(classes)
    unknown = sorted({str(t) for t in truth if t not in names})
    if unknown or len(set(names)) != len(names):
        raise InputError(
            f"label_scores: truth must be of the different classes {names}, got {unknown}."
        )
    true = np.array([names.index(t) for t in truth])
    table = _finite("label_scores", probabilities, "probabilities")
    if table.shape != (len(true), len(names)):
        raise InputError(
            f"label_scores: probabilities must be ({len(true)}, {len(names)}), got {table.shape}."
        )
    if (table < 0).any() or not np.allclose(table.sum(axis=1), 1, atol=1e-4):
        raise InputError("label_scores: probabilities must be >= 0 and rows sum to 1, got others.")
    if len(np.unique(true)) < 2:
        raise InputError(
            "label_scores: truth must hold at least two classes, got one: there is nothing to tell "
            "apart. Use a test set with both."
        )
    resampled = [
        rows
        for rows in resampled_rows(len(true), groups, resamples, seed)
        if len(np.unique(true[rows])) > 1
    ]
    permuted = permuted_rows(len(true), groups, strata, permutations, seed)
    metrics = {"auroc": (auroc, 1), "balanced_accuracy": (_balanced, 1)}
    metrics |= {"calibration_error": (_calibration_error, -1)}
    return {
        name: _score(name, metric, sign, true, table, resampled, permuted)
        for name, (metric, sign) in metrics.items()
    }


@checked
def beside_baselines(
    score: Callable[[npt.NDArray], dict[str, Score]],
    predicted: npt.ArrayLike,
    baselines: Mapping[str, npt.ArrayLike],
) -> dict[str, dict[str, Score]]:
    """Compute the same scores for a model and for every baseline.

    Parameters
    ----------
    score : callable
        Maps predictions to scores, for instance
        ``lambda p: scale_scores(age, p, groups=family)``.
    predicted : array_like
        Predictions of the model.
    baselines : mapping of str to array_like
        As returned by :func:`fastbrain.evaluation.baseline_predictions`.

    Returns
    -------
    dict
        ``"model"`` first, then the baselines by name.
    """
    if "model" in baselines:
        raise InputError("beside_baselines: baselines must not be named 'model', got one.")
    return {name: score(np.asarray(p)) for name, p in {"model": predicted, **baselines}.items()}


def auroc(truth: npt.NDArray[np.int64], table: Vector) -> float:
    """Macro-averaged one-vs-rest AUROC of probabilities (N, C)."""
    from scipy.stats import rankdata

    areas = []
    for k in np.unique(truth):
        inside = truth == k
        count = inside.sum()
        ranks = rankdata(table[:, k])
        above = ranks[inside].sum() - count * (count + 1) / 2
        areas.append(above / (count * (len(truth) - count)))
    return float(np.mean(areas))


def _balanced(truth: npt.NDArray[np.int64], table: Vector) -> float:
    said = table.argmax(axis=1)
    return float(np.mean([(said[truth == k] == k).mean() for k in np.unique(truth)]))


def _calibration_error(truth: npt.NDArray[np.int64], table: Vector) -> float:
    sure = table.max(axis=1)
    right = table.argmax(axis=1) == truth
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    gap = np.bincount(bins, weights=sure - right, minlength=_BINS)
    return float(np.abs(gap).sum() / len(truth))


def _finite(function: str, values: npt.ArrayLike, name: str) -> Vector:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise InputError(
            f"{function}: {name} must be finite, got {int((~np.isfinite(array)).sum())} values "
            "that are not. Leave those people out, and say how many."
        )
    return array


def _score(
    name: str,
    metric: Callable[[npt.NDArray, Vector], float],
    sign: int,
    truth: npt.NDArray,
    predicted: Vector,
    resampled: Sequence[npt.NDArray[np.int64]],
    permuted: npt.NDArray[np.int64],
) -> Score:
    value = metric(truth, predicted)
    estimates = [metric(truth[rows], predicted[rows]) for rows in resampled]
    null = np.array([metric(truth, predicted[rows]) for rows in permuted])
    return _scored(name, sign, value, null, estimates, len(truth))


def _scored(
    name: str, sign: int, value: float, null: Vector, estimates: Sequence[float] | Vector, n: int
) -> Score:
    """Make a score of its value, those of permuted predictions and those of resampled people."""
    tails = np.percentile(estimates, [2.5, 97.5]).tolist() if len(estimates) else None
    interval = None if tails is None else Interval(*tails)
    if sign == 0:
        return Score(name, "prediction", value, n, interval=interval)
    return Score(
        name,
        "prediction",
        value,
        n,
        chance=float(null.mean()),
        control="permuted predictions",
        p=permutation_p(sign * value, sign * null),
        interval=interval,
    )
