"""What was heard in each volume, and between two times, from the timings of words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ..readers.timing import volume_during
from ..readers.word_timings import Word

_BLOCK = 256  # volumes, of which the overlap with all words is in memory at a time


@checked(least={"n_volumes": 1})
def word_rates(
    words: Sequence[Word], *, tr: float, n_volumes: int, onset_s: float = 0.0
) -> npt.NDArray[np.float64]:
    """Count words, seconds of speech and letters in each volume.

    Parameters
    ----------
    words : sequence of Word
    tr : float
        Seconds between volumes.
    n_volumes : int
        Number of volumes of the run; words outside of it are left out.
    onset_s : float
        Start of the stimulus after the first volume, seconds, as in :func:`story_samples`.

    Returns
    -------
    ndarray, (n_volumes, 3) float64
        Number of words that begin in the volume, seconds of it that are covered by words, and
        number of letters of the words that begin in it.

    Raises
    ------
    InputError
        `tr` is not positive, or no word begins in the run.
    """
    if not tr > 0:
        raise InputError(f"word_rates: tr must be > 0 s, got {tr}.")
    rates = np.zeros((n_volumes, 3))
    for word in words:
        volume = volume_during(word.onset + onset_s, tr)
        if 0 <= volume < n_volumes:
            rates[volume, 0] += 1
            rates[volume, 2] += len(word.text)
    if not rates.any():
        raise InputError(
            f"word_rates: a word must begin in volumes 0 to {n_volumes - 1}, got none of "
            f"{len(words)}. Check tr and onset_s."
        )
    onset, offset = _times(words, onset_s)
    for first in range(0, n_volumes, _BLOCK):
        begin = np.arange(first, min(first + _BLOCK, n_volumes))[:, None] * tr
        overlap = np.minimum(offset, begin + tr) - np.maximum(onset, begin)  # (volumes, words)
        rates[first : first + len(begin), 1] = overlap.clip(0).sum(axis=1)
    return rates


@checked
def texts_between(
    words: Sequence[Word], start_s: npt.ArrayLike, stop_s: npt.ArrayLike, *, onset_s: float = 0.0
) -> list[str]:
    """Join the words that begin between two times.

    Parameters
    ----------
    words : sequence of Word
        Sorted by onset, as :func:`read_words` returns them.
    start_s, stop_s : array_like, (N,)
        Beginning and end of each span, in seconds after the start of the first volume. A word that
        begins at `stop_s` is not of the span. Spans may overlap.
    onset_s : float
        Start of the stimulus after the first volume, seconds, as in :func:`story_samples`.

    Returns
    -------
    list of str, (N,)
        Empty for a span in which no word begins.

    Raises
    ------
    InputError
        Sizes differ, a time is not finite, a span ends before it begins, or words are not sorted.
    """
    start, stop = (np.asarray(times, dtype=np.float64) for times in (start_s, stop_s))
    if start.ndim != 1 or start.shape != stop.shape or not (stop >= start).all():
        raise InputError(
            "texts_between: start_s and stop_s must be (N,) with stop_s >= start_s, got "
            f"{start.shape} and {stop.shape}."
        )
    if not np.isfinite([start, stop]).all():
        raise InputError("texts_between: start_s and stop_s must be finite, got infinity.")
    onset, _ = _times(words, onset_s)
    if not (np.diff(onset) >= 0).all():
        raise InputError(
            "texts_between: words must be sorted by onset, got others. Use sorted(words, "
            "key=lambda w: w.onset)."
        )
    first, last = np.searchsorted(onset, [start, stop])
    return [
        " ".join(word.text for word in words[i:j])
        for i, j in zip(first.tolist(), last.tolist(), strict=True)
    ]


def _times(
    words: Sequence[Word], onset_s: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Onsets and offsets after the start of the first volume, seconds."""
    times = np.array([(word.onset, word.offset) for word in words], dtype=np.float64)
    onset, offset = times.reshape(-1, 2).T + onset_s
    return onset, offset
