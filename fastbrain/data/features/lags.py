"""Windows of brain features after each text onset, to cover the haemodynamic delay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError

BRAINLLM_LAGS = (1, 2, 3, 4)


@checked
def lagged_windows(
    features: npt.NDArray[Any],
    at: npt.ArrayLike,
    *,
    lags: Sequence[int] = BRAINLLM_LAGS,
    runs: Sequence[object] | None = None,
    at_runs: Sequence[object] | None = None,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Stack the features of the volumes at the given lags after each text onset.

    Parameters
    ----------
    features : ndarray, (T, ...)
        One row per volume, in temporal order within each run.
    at : array_like, (N,) int
        Volume in which each text begins, counted within its run.
    lags : sequence of int
        Volumes after `at`; BrainLLM uses the four TRs after it (arXiv 2311.09889). Negative lags
        are a control: volumes before the text do not contain the response to it.
    runs : sequence, (T,), optional
        Run of every row; the rows of a run are contiguous. Default: one run.
    at_runs : sequence, (N,), optional
        Run of every entry of `at`; required with `runs`.

    Returns
    -------
    windows : ndarray, (M, len(lags), ...)
        Windows that lie completely inside their run, in the order of `at`.
    kept : ndarray, (N,) bool
        Entries of `at` with a window. No window reaches into another run, and none is padded.

    Raises
    ------
    InputError
        There is no lag, sizes disagree, a run is not contiguous or unknown, or no window fits.
    """
    moments = np.asarray(at)
    if not len(lags) or moments.ndim != 1 or not np.issubdtype(moments.dtype, np.integer):
        raise InputError(
            "lagged_windows: at must be (N,) whole numbers and lags not empty, got "
            f"{moments.dtype} of shape {moments.shape} and {len(lags)} lags."
        )
    if (runs is None) != (at_runs is None):
        raise InputError("lagged_windows: runs and at_runs must be given together, got one.")
    if runs is None or at_runs is None:
        first, length = np.zeros(len(moments), dtype=np.int64), np.full(len(moments), len(features))
    else:
        first, length = _places(runs, at_runs, len(features), len(moments))
    wanted = moments[:, None] + np.asarray(lags)
    kept = ((wanted >= 0) & (wanted < length[:, None])).all(axis=1)
    if not kept.any():
        raise InputError(
            f"lagged_windows: a window of lags {tuple(lags)} must fit into its run, got none of "
            f"{len(moments)} that does."
        )
    return features[(first[:, None] + wanted)[kept]], kept


def _places(
    runs: Sequence[object], at_runs: Sequence[object], n: int, m: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find the first row and the length of the run of each text onset."""
    if len(runs) != n or len(at_runs) != m:
        raise InputError(
            f"lagged_windows: runs must name all {n} rows and at_runs all {m} moments, got "
            f"{len(runs)} and {len(at_runs)}."
        )
    spans: dict[object, tuple[int, int]] = {}
    for row, run in enumerate(runs):
        start, end = spans.get(run, (row, row))
        if end != row:
            raise InputError(
                f"lagged_windows: rows of a run must stand together, got {run!r} twice."
            )
        spans[run] = start, row + 1
    unknown = [run for run in at_runs if run not in spans]
    if unknown:
        raise InputError(f"lagged_windows: at_runs must be among runs, got {unknown[0]!r}.")
    found = np.array([spans[run] for run in at_runs], dtype=np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1] - found[:, 0]
