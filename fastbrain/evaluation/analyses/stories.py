"""Window-by-window scores of decoded stories, against shifted windows and other controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ...stats.inference import block_flip_p
from ..controls.conditions import DERANGED
from ..metrics.corpus import text_scores
from ..metrics.registry import TEXT_METRICS, TextMetric
from ..scores import Score


@checked
def shifted_partners(
    lengths: Sequence[int], *, guard: int, count: int, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Draw partners for windows by a circular shift within each stretch.

    Adjacent windows stay adjacent, so the null distribution keeps the autocorrelation.

    Parameters
    ----------
    lengths : sequence of int
        Number of windows of each consecutive stretch. Each stretch has an independent shift.
    guard : int
        Smallest shift in either direction, in windows; longer than the response to one window.
    count : int
        Number of draws. A single stretch has few distinct shifts; equal ones count once in a p,
        which is then at least 1 / (distinct + 1), for any `count`.
    seed : int

    Returns
    -------
    ndarray, (count, N) int64

    Raises
    ------
    InputError
        A stretch is too short to shift.
    """
    if guard < 1 or count < 1 or not len(lengths) or min(lengths) < 2 * guard:
        raise InputError(
            f"shifted_partners: lengths must be at least twice the guard of {guard} windows and "
            f"count >= 1, got {list(lengths)} and {count}."
        )
    rng = np.random.default_rng(seed)
    rows, start = [], 0
    for n in lengths:
        shifts = rng.integers(guard, n - guard, size=count, endpoint=True)
        rows.append(start + (np.arange(n) + shifts[:, None]) % n)
        start += n
    return np.concatenate(rows, axis=1)


@checked(least={"resamples": 1})
def story_scores(
    decoded: Sequence[str],
    truth: Sequence[str],
    partners: npt.NDArray[np.int64],
    *,
    others: Mapping[str, Sequence[str]] | None = None,
    blocks: Sequence[object],
    metrics: Sequence[TextMetric] = TEXT_METRICS,
    resamples: int = 1000,
    seed: int = 0,
) -> list[Score]:
    """Score decoded windows against the words heard in them.

    Parameters
    ----------
    decoded, truth : sequence of str, (N,)
        One text per window, in temporal order. A text may be empty.
    partners : ndarray, (R, N) int64
        From :func:`shifted_partners`: chance is the score of the same texts in other windows.
    others : mapping of str to sequence of str, (N,), optional
        Texts of the same windows under a control, for instance ``"prompt alone"``: the language
        model and the word rate without the brain.
    blocks : sequence, (N,)
        Stretch of each window, the unit of intervals and sign flips.
    metrics : sequence of TextMetric
    resamples, seed : int

    Returns
    -------
    list of Score
        First against ``"deranged brain"``, then against each of `others`, with p by sign flips of
        blocks of the per-window values; p is None if the metric has no per-window values.

    Raises
    ------
    InputError
        List lengths differ.
    """
    for name, texts in (others or {}).items():
        if len(texts) != len(truth):
            raise InputError(
                f"story_scores: others must be {len(truth)} windows, got {len(texts)} of {name!r}."
            )
    options = {"metrics": metrics, "blocks": blocks, "resamples": resamples, "seed": seed}
    own = text_scores(decoded, truth, partners, control=DERANGED, **options)  # type: ignore[arg-type]
    found = [result.score for result in own.values()]
    for name, texts in (others or {}).items():
        rest = text_scores(texts, truth, **options)  # type: ignore[arg-type]
        for metric in metrics:
            mine, theirs = own[metric.name], rest[metric.name]
            p = None
            if mine.per_sample is not None and theirs.per_sample is not None:
                sign = 1 if metric.better == "higher" else -1
                p = block_flip_p(sign * (mine.per_sample - theirs.per_sample), blocks, seed=seed)
            found.append(replace(mine.score, chance=theirs.score.value, control=name, p=p))
    return found
