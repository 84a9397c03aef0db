"""Metrics of predictions of an age or a scale, of many resamples or permutations at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
_NUMBERS = 1 << 20  # drawn at once, which bounds memory

# of each metric: 1 where larger is better; 0: no direction is better
SIGNS = {
    **{"mae": -1, "rmse": -1, "r2": 1, "r": 1, "calibration_slope": 0, "calibration_intercept": 0},
    **{"prediction_slope": 0, "sd_ratio": 0},
}


def scale_metrics(truth: Vector, predicted: Vector) -> dict[str, Vector]:
    """Metrics (R,) of predictions (R, N) of truth (R, N) or (N,), which varies in every row."""
    error = truth - predicted
    t = truth - truth.mean(axis=-1, keepdims=True)
    p = predicted - predicted.mean(axis=-1, keepdims=True)
    tt, pp, tp = (t * t).sum(axis=-1), (p * p).sum(axis=-1), (t * p).sum(axis=-1)
    # of constant predictions, rounding may leave a variance
    varies = (np.ptp(predicted, axis=-1) > 0) & (pp > 0)

    def where_varies(above: Vector, below: Vector) -> Vector:
        return np.divide(above, below, out=np.zeros(len(predicted)), where=varies)

    slope = where_varies(tp, pp)
    return {
        "mae": np.abs(error).mean(axis=-1),
        "rmse": np.sqrt((error**2).mean(axis=-1)),
        "r2": 1 - (error**2).sum(axis=-1) / tt,
        "r": where_varies(tp, np.sqrt(tt * pp)),
        "calibration_slope": slope,
        "calibration_intercept": truth.mean(axis=-1) - slope * predicted.mean(axis=-1),
        "prediction_slope": where_varies(tp, np.broadcast_to(tt, tp.shape)),
        "sd_ratio": np.sqrt(where_varies(pp, np.broadcast_to(tt, pp.shape))),
    }


def over_draws(
    drawn: Sequence[npt.NDArray[np.int64]],
    metrics: Callable[[npt.NDArray[np.int64]], dict[str, Vector]],
) -> dict[str, Vector]:
    """Compute metrics of many draws; those of one length together, as far as memory allows."""
    found: dict[str, list[Vector]] = {name: [] for name in SIGNS}
    for length in {len(rows) for rows in drawn}:
        alike = [rows for rows in drawn if len(rows) == length]
        step = max(1, _NUMBERS // length)
        for first in range(0, len(alike), step):
            for name, values in metrics(np.stack(alike[first : first + step])).items():
                found[name].append(values)
    return {name: np.concatenate(parts or [np.empty(0)]) for name, parts in found.items()}
