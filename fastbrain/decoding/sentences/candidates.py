"""Lines written by a language model, and its predictions at every position of a line."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Candidates:
    """Written lines.

    Parameters
    ----------
    texts : tuple of str, (N,)
    log_p : ndarray, (N,) float64
        Log likelihood of the written tokens with the end of the line, nats. A line that was cut
        counts the probability of an end after its last token. Tokens of a given start are not
        counted.
    tokens : ndarray, (N,) int64
        Number of these tokens, the end included.
    """

    texts: tuple[str, ...]
    log_p: Array
    tokens: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class NextWords:
    """Predictions of a language model at every position of a line.

    Parameters
    ----------
    spans : tuple of (int, int), (T,)
        Characters of each token, first and one after the last.
    tokens : ndarray, (T,) int64
    log_p : ndarray, (T, V) float32
        Log probabilities, nats, given the prompt and the tokens before.
    """

    spans: tuple[tuple[int, int], ...]
    tokens: npt.NDArray[np.int64]
    log_p: npt.NDArray[np.float32]
