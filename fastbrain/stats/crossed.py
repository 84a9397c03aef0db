"""Bootstrap interval of a mean over two crossed factors, for instance raters and items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .._arguments import checked
from ..errors import InputError
from .inference import Interval


@checked(least={"resamples": 1})
def crossed_interval(
    values: npt.ArrayLike,
    first: Sequence[object],
    second: Sequence[object],
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval | None:
    """Percentile interval of the mean, resampling the levels of both factors.

    Parameters
    ----------
    values : array_like, (N,)
        One value per observation; not every combination of levels need have one.
    first, second : sequence, (N,)
        Level of each factor, for instance rater and item. A factor with a single level is kept as
        it is, so that the interval says nothing about other levels of it.
    resamples : int
    level : float
        In (0, 1).
    seed : int

    Returns
    -------
    Interval or None
        None if both factors have a single level.

    Raises
    ------
    InputError
        Values are not finite, sizes differ, or `level` is out of range.

    Notes
    -----
    The weight of an observation is the product of how often its two levels were drawn (the
    pigeonhole bootstrap: Owen, The pigeonhole bootstrap, Ann. Appl. Stat. 2007), which overstates
    the variance slightly. Draws that contain no observation are left out.
    """
    if not 0 < level < 1:
        raise InputError(f"crossed_interval: level must be in (0, 1), got {level}.")
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0 or not np.isfinite(scores).all():
        raise InputError(
            f"crossed_interval: values must be (N >= 1,) and finite, got shape {scores.shape}."
        )
    if not len(first) == len(second) == scores.size:
        raise InputError(
            f"crossed_interval: first and second must name the level of all {scores.size} values, "
            f"got {len(first)} and {len(second)}."
        )
    rows, columns = _codes(first), _codes(second)
    shape = rows.max() + 1, columns.max() + 1
    if shape == (1, 1):
        return None
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (rows, columns), scores)
    np.add.at(counts, (rows, columns), 1)
    rng = np.random.default_rng(seed)
    of_rows, of_columns = (_draws(rng, n, resamples) for n in shape)
    weight = ((of_rows @ counts) * of_columns).sum(axis=1)
    total = ((of_rows @ sums) * of_columns).sum(axis=1)
    drawn = weight > 0
    if not drawn.any():
        return None
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(total[drawn] / weight[drawn], [tail, 100 - tail])
    return Interval(float(low), float(high), level)


def _codes(levels: Sequence[object]) -> npt.NDArray[np.intp]:
    return np.unique(np.asarray([str(x) for x in levels]), return_inverse=True)[1]


def _draws(rng: np.random.Generator, levels: int, resamples: int) -> npt.NDArray[np.float64]:
    """How often each level is drawn in each resample, (resamples, levels)."""
    if levels == 1:
        return np.ones((resamples, 1))
    return rng.multinomial(levels, np.full(levels, 1 / levels), size=resamples).astype(np.float64)
