"""Decoded stories window by window, beside the same story shifted and beside no brain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ..controls.conditions import DERANGED, block_flip_p
from ..metrics.corpus import text_scores
from ..metrics.registry import TEXT_METRICS, TextMetric
from ..scores import Score


@checked
def shifted_partners(
    lengths: Sequence[int], *, guard: int, count: int, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Each window's partner: another window of its own stretch, all moved by as many, circularly.

    Neighbours stay neighbours, so that what is alike for a while is alike in the null too.

    Parameters
    ----------
    lengths : sequence of int
        Windows of each stretch, which follow each other. Every stretch is shifted by its own.
    guard : int
        Least shift either way, in windows: longer than the response to one window.
    count : int
        Draws. A single stretch has few different ones; p cannot be less than one over their
        number, whatever `count` is.
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
    """Score decoded windows against what was heard in them.

    Parameters
    ----------
    decoded, truth : sequence of str, (N,)
        Window by window, in the order of time. A window may be empty.
    partners : ndarray, (R, N) int64
        From :func:`shifted_partners`: chance is that of the same text in other windows.
    others : mapping of str to sequence of str, (N,), optional
        Texts of the same windows under a control, for instance ``"prompt alone"``: the language
        model and the word rate without the brain.
    blocks : sequence, (N,)
        Stretches: unit of intervals and sign flips.
    metrics : sequence of TextMetric
    resamples, seed : int

    Returns
    -------
    list of Score
        Against ``"deranged brain"`` first, then against each of `others`: p by sign flips of
        blocks of the windows' own values, None where a metric has none.

    Raises
    ------
    InputError
        Lists disagree.
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
