"""Find windows of one run that lie too close to each other, without comparing every pair."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Spans = npt.NDArray[np.int64]  # (n, 2): first volume, and the one after the last
_FAR = 1 << 40  # longer than any run: larger guards are cut to this value


def spans(windows: list[tuple[int, int]]) -> Spans:
    """Convert windows (start, number of volumes) to an array of (start, end)."""
    array = np.array(windows, dtype=np.int64).reshape(-1, 2)
    array[:, 1] += array[:, 0]
    return array


def count_close(windows: Spans, others: Spans, guard: int) -> npt.NDArray[np.int64]:
    """Count, for each window, the `others` with fewer than `guard` volumes in between.

    Takes O((n + m) log m).

    Parameters
    ----------
    windows, others : ndarray, (n, 2) and (m, 2) int64
        Windows of the same run.
    guard : int
        0 counts windows that share a volume.

    Returns
    -------
    ndarray, (n,) int64
    """
    guard = min(guard, _FAR)
    begun = np.searchsorted(np.sort(others[:, 0]), windows[:, 1] + guard, side="left")
    over = np.searchsorted(np.sort(others[:, 1]), windows[:, 0] - guard, side="right")
    return np.asarray(begun - over, dtype=np.int64)


def close_pairs(windows: Spans, others: Spans, guard: int) -> Iterator[tuple[int, int]]:
    """Yield pairs (row of `windows`, row of `others`) with fewer than `guard` volumes between."""
    guard = min(guard, _FAR)
    for row in np.flatnonzero(count_close(windows, others, guard)):
        start, end = windows[row]
        near = (others[:, 0] < end + guard) & (start < others[:, 1] + guard)
        for other in np.flatnonzero(near):
            yield int(row), int(other)
