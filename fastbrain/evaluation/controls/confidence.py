"""Confidence in single decoded texts: how much their own brain window makes them likelier.

A decoder writes a fluent sentence for any window, and the sentence it writes is likely by
construction. So each margin is reported with that of phase-randomised windows, which contain no
stimulus.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...decoding.brain_decoder import BrainDecoder
from ...errors import InputError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Margins:
    """Margins of decoded texts, nats per token; NaN where undefined.

    Parameters
    ----------
    no_brain : ndarray, (N,) float64
        Mean negative log likelihood of the text after the prompt alone, minus that after its own
        window.
    permuted : ndarray, (N,) float64
        Mean over other windows of the negative log likelihood of the text, minus that after its own
        window. NaN for a window without others.
    """

    no_brain: Floats
    permuted: Floats


@checked
def text_margins(
    decoder: BrainDecoder,
    prefixes: Any,
    texts: Sequence[str],
    partners: Sequence[Sequence[int]],
) -> Margins:
    """Score each decoded text after its own window, after no window and after other windows.

    Parameters
    ----------
    decoder : BrainDecoder
    prefixes : prefixes of N windows
        From ``decoder.read``.
    texts : sequence of str, (N,)
        Decoded texts; an empty one has no margin.
    partners : sequence of sequence of int, (N,)
        Indices of the other windows of each text, possibly none.

    Raises
    ------
    InputError
        Sizes differ.
    """
    n = len(texts)
    if len(prefixes) != n or len(partners) != n:
        raise InputError(
            f"text_margins: prefixes and partners must be {n}, one a text, got {len(prefixes)} and "
            f"{len(partners)}."
        )
    said = [i for i, text in enumerate(texts) if text.strip()]
    if not said:
        return Margins(np.full(n, np.nan), np.full(n, np.nan))
    # the words of a text without one are never scored
    words = [text if text.strip() else texts[said[0]] for text in texts]
    own = _scored(decoder, prefixes, words, [(i, i) for i in said])
    nothing = decoder.read_nothing()
    alone = [(0 if len(nothing) == 1 else i, i) for i in said]
    others = [(j, i) for i in said for j in partners[i]]
    without = _scored(decoder, nothing, words, alone)
    permuted = _scored(decoder, prefixes, words, others)
    margins = Margins(np.full(n, np.nan), np.full(n, np.nan))
    margins.no_brain[said] = without - own
    texts_of = np.array([i for _, i in others], dtype=np.int64)
    for place, i in enumerate(said):
        mine = permuted[texts_of == i]
        if len(mine):
            margins.permuted[i] = mine.mean() - own[place]
    return margins


def _scored(
    decoder: BrainDecoder, prefixes: Any, texts: Sequence[str], pairs: Sequence[tuple[int, int]]
) -> Floats:
    if not pairs:
        return np.empty(0)
    return np.asarray(decoder.score(prefixes, texts, np.array(pairs, dtype=np.int64)))


@checked
def exceedance_p(values: npt.ArrayLike, noise: npt.ArrayLike) -> Floats:
    """One-sided p of each value among values of noise: (1 + noise at least as large) / (1 + M).

    Parameters
    ----------
    values : array_like, (N,)
        NaN gives NaN.
    noise : array_like, (M,)
        NaN is left out; without any value p is NaN.

    Returns
    -------
    ndarray, (N,) float64
    """
    found = np.asarray(values, dtype=np.float64)
    null = np.sort(np.asarray(noise, dtype=np.float64))
    null = null[~np.isnan(null)]
    if not len(null):
        return np.full(found.shape, np.nan)
    above = len(null) - np.searchsorted(null, found, side="left")
    return np.where(np.isnan(found), np.nan, (1 + above) / (1 + len(null)))


def distant_windows(
    windows: Sequence[tuple[str, int]], guard_trs: int, *, most: int, seed: int = 0
) -> list[list[int]]:
    """Choose other windows for each window: of another run, or at least `guard_trs` away.

    Parameters
    ----------
    windows : sequence of (str, int), (N,)
        Run and first volume of each window.
    guard_trs : int
        Volumes from the start of one window to that of the other.
    most : int
        Largest number for one window.
    seed : int
    """
    rng = np.random.default_rng(seed)
    runs = np.array([run for run, _ in windows])
    starts = np.array([start for _, start in windows])
    chosen = []
    for run, start in windows:
        far = np.flatnonzero((runs != run) | (np.abs(starts - start) >= guard_trs))
        if len(far) > most:
            far = np.sort(rng.choice(far, most, replace=False))
        chosen.append(far.tolist())
    return chosen
