"""Word-rate model: predict the number of words in a brain window, the length of decoded text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .._arguments import checked
from ..errors import InputError
from ..stats.ridge import PENALTIES, Ridge, fit_ridge


@dataclass(frozen=True, eq=False)
class WordRate:
    """Ridge regression from a window to a word count; returned by :func:`fit_word_rate`."""

    ridge: Ridge

    def predict(self, windows: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Predict the expected number of words (N,) of windows (N, L, k); never negative."""
        rows = _flat("WordRate.predict", windows)
        return np.maximum(self.ridge.predict(rows)[:, 0], 0.0)

    def counts(self, windows: npt.ArrayLike, *, least: int = 0) -> npt.NDArray[np.int64]:
        """Predict integer word counts (N,), at least `least`."""
        rounded = np.rint(self.predict(windows)).astype(np.int64)
        return np.maximum(rounded, least)


@checked
def fit_word_rate(
    windows: npt.ArrayLike,
    words: npt.ArrayLike,
    *,
    groups: Sequence[object] | None = None,
    penalties: Sequence[float] = PENALTIES,
) -> WordRate:
    """Fit the number of words in each window (BrainLLM: ridge on the flattened window).

    Parameters
    ----------
    windows : array_like, (N, L, k)
        Windows of the training part only.
    words : array_like, (N,)
        Number of words, or tokens, heard in each window.
    groups, penalties
        As in :func:`fit_ridge`.

    Returns
    -------
    WordRate

    Raises
    ------
    InputError
        Shapes disagree, a count is negative, or :func:`fit_ridge` raises it.
    """
    rows = _flat("fit_word_rate", windows)
    counts = np.asarray(words, dtype=np.float64)
    if counts.shape != (len(rows),) or not (counts >= 0).all():
        raise InputError(
            f"fit_word_rate: words must be ({len(rows)},) and 0 or more, got {counts.shape}."
        )
    ridge = fit_ridge(rows, counts[:, None], groups=groups, penalties=penalties)
    return WordRate(ridge)


def _flat(name: str, windows: npt.ArrayLike) -> npt.NDArray[np.float64]:
    values = np.asarray(windows, dtype=np.float64)
    if values.ndim != 3 or 0 in values.shape[1:]:
        raise InputError(f"{name}: windows must be (N, L >= 1, k >= 1), got {values.shape}.")
    return values.reshape(len(values), -1)
