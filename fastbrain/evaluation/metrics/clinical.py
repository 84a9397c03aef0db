"""Scores of predicted ages, scales and labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ...stats.exchangeability import permuted_rows, resampled_rows
from ...stats.inference import Interval, permutation_p
from ..scores import Score

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
    """Scores of an age or a scale that was predicted for people who were not trained on.

    Parameters
    ----------
    truth, predicted : array_like, (N >= 3,)
        In the unit of the scale, for instance years.
    groups : sequence, (N,), optional
        Family (or person, where people were scanned twice): resampled, and permuted, whole.
    strata : sequence, (N,), optional
        Site: permutations stay within, so that a difference between sites is no evidence.
    permutations : int
        Of the predictions, for chance and p. Predictions of cross-validation folds depend on each
        other a little: for a p near the limit, fit each permutation anew.
    resamples : int
    seed : int

    Returns
    -------
    dict of str to Score
        ``mae`` and ``rmse`` in the scale's unit (lower is better), ``r2`` (1 less squared error
        over the variance of `truth`; below zero is worse than the mean), ``r`` (Pearson; 0 for
        constant predictions), and ``calibration_slope`` and ``calibration_intercept`` of `truth`
        regressed on `predicted` (ideal: 1 and 0; slope 0 for constant predictions), which have no
        better side and hence no p.

    Raises
    ------
    InputError
        Values that are not finite, a constant truth, unequal lengths, or nothing to permute.
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
            f"scale_scores: truth must vary, got {true[0]} for everybody: R2 and r are undefined."
        )
    metrics: dict[str, tuple[Callable[[Vector, Vector], float], int]] = {
        "mae": (lambda t, p: float(np.abs(t - p).mean()), -1),
        "rmse": (lambda t, p: float(np.sqrt(((t - p) ** 2).mean())), -1),
        "r2": (lambda t, p: float(1 - ((t - p) ** 2).sum() / ((t - t.mean()) ** 2).sum()), 1),
        "r": (_pearson, 1),
        "calibration_slope": (lambda t, p: _line(t, p)[0], 0),
        "calibration_intercept": (lambda t, p: _line(t, p)[1], 0),
    }
    resampled = [
        rows
        for rows in resampled_rows(len(true), groups, resamples, seed)
        if np.ptp(true[rows]) > 0
    ]
    permuted = permuted_rows(len(true), groups, strata, permutations, seed)
    return {
        name: _score(name, metric, sign, true, guess, resampled, permuted)
        for name, (metric, sign) in metrics.items()
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
    """Scores of a label that was predicted for people who were not trained on.

    Parameters
    ----------
    truth : sequence, (N,)
        Each one of `classes`; at least two of them occur.
    probabilities : array_like, (N, C)
        In [0, 1], rows sum to 1.
    classes : sequence, (C,)
    groups, strata, permutations, resamples, seed
        As in :func:`scale_scores`. Resamples without a second class are left out.

    Returns
    -------
    dict of str to Score
        ``auroc`` (mean over the classes that occur, each against the rest; ties count a half),
        ``balanced_accuracy`` (mean recall of the classes that occur; of equally likely classes the
        first is taken), and ``calibration_error`` (expected difference between the probability of
        the predicted class and how often it is right, ten bins; lower is better).

    Raises
    ------
    InputError
        One class only, an unknown class, or probabilities that are none.
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
            "label_scores: truth must hold at least two classes, got one: nothing can be told "
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
    """The same scores of a model and of every baseline.

    Parameters
    ----------
    score : callable
        Of predictions, for instance
        ``lambda p: scale_scores(age, p, groups=family)``.
    predicted : array_like
        Of the model.
    baselines : mapping of str to array_like
        As :func:`fastbrain.evaluation.baseline_predictions` gives them.

    Returns
    -------
    dict
        ``"model"`` first, then the baselines by name.
    """
    if "model" in baselines:
        raise InputError("beside_baselines: baselines must not be named 'model', got one.")
    return {name: score(np.asarray(p)) for name, p in {"model": predicted, **baselines}.items()}


def auroc(truth: npt.NDArray[np.int64], table: Vector) -> float:
    """Mean over classes of the chance that one of the class has more of it than another (N, C)."""
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


def _pearson(truth: Vector, predicted: Vector) -> float:
    left, right = truth - truth.mean(), predicted - predicted.mean()
    size = np.sqrt((left @ left) * (right @ right))
    return float(left @ right / size) if np.ptp(predicted) > 0 and size > 0 else 0.0


def _line(truth: Vector, predicted: Vector) -> tuple[float, float]:
    """Slope and intercept of truth on predicted."""
    centred = predicted - predicted.mean()
    spread = centred @ centred
    slope = float(centred @ truth / spread) if np.ptp(predicted) > 0 and spread > 0 else 0.0
    return slope, float(truth.mean() - slope * predicted.mean())


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
    low, high = np.percentile(estimates, [2.5, 97.5]) if estimates else (np.nan, np.nan)
    interval = Interval(float(low), float(high)) if estimates else None
    if sign == 0:
        return Score(name, "prediction", value, len(truth), interval=interval)
    null = np.array([metric(truth, predicted[rows]) for rows in permuted])
    p = permutation_p(sign * value, sign * null)
    return Score(
        name,
        "prediction",
        value,
        len(truth),
        chance=float(null.mean()),
        control="permuted predictions",
        p=p,
        interval=interval,
    )
