"""Agreement of several raters about categories."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .._arguments import checked
from ..errors import InputError


@checked
def krippendorff_alpha(ratings: npt.ArrayLike) -> float | None:
    """Compute Krippendorff's alpha for nominal categories, with missing ratings.

    Parameters
    ----------
    ratings : array_like, (R, U)
        Category of each unit by each rater, as a number; NaN where a rating is missing. Units with
        fewer than two ratings do not count.

    Returns
    -------
    float or None
        1 for full agreement, 0 for the agreement of random ratings with the same frequencies.
        None where it is undefined: no unit has two ratings, or all ratings are equal.

    Raises
    ------
    InputError
        The array is not 2-D, or a value is infinite.

    Notes
    -----
    ``1 - D_o / D_e`` from the coincidence matrix (Krippendorff, Computing Krippendorff's
    Alpha-Reliability, 2011).
    """
    values = np.asarray(ratings, dtype=np.float64)
    if values.ndim != 2 or np.isinf(values).any():
        raise InputError(
            "krippendorff_alpha: ratings must be (R, U) with NaN for missing ones, got shape "
            f"{values.shape}."
        )
    categories = np.unique(values[~np.isnan(values)])
    counts = (values[:, :, None] == categories).sum(axis=0)  # (U, C)
    counts = counts[counts.sum(axis=1) >= 2]
    if not counts.size:
        return None
    raters = counts.sum(axis=1)
    # ordered pairs of ratings of one unit, each unit weighted by 1 / (raters - 1)
    equal = float(((counts * (counts - 1)).sum(axis=1) / (raters - 1)).sum())
    totals = counts.sum(axis=0)
    n = int(totals.sum())
    expected = n * n - int((totals**2).sum())
    if expected == 0:
        return None
    return 1 - (n - equal) * (n - 1) / expected


@checked
def fleiss_kappa(counts: npt.ArrayLike) -> float | None:
    """Compute Fleiss' kappa.

    Parameters
    ----------
    counts : array_like, (U, C)
        Number of raters that put each unit into each category; the same number of raters, two or
        more, for every unit.

    Returns
    -------
    float or None
        None if all ratings are equal: it is undefined.

    Raises
    ------
    InputError
        Counts are not (U, C) finite whole numbers of 0 or more, or units differ in their number of
        raters.

    Notes
    -----
    Fleiss, Measuring nominal scale agreement among many raters, 1971.
    """
    values = np.asarray(counts, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise InputError(f"fleiss_kappa: counts must be (U >= 1, C >= 1), got {values.shape}.")
    wrong = values[~((values >= 0) & np.isfinite(values) & (values == np.floor(values)))]
    if wrong.size:
        raise InputError(
            f"fleiss_kappa: counts must be whole numbers, 0 or more, got {wrong[0]:g}."
        )
    raters = values.sum(axis=1)
    if raters[0] < 2 or not (raters == raters[0]).all():
        raise InputError(
            "fleiss_kappa: every unit must have the same number of raters, 2 or more, got "
            f"{int(raters.min())} to {int(raters.max())}. Use krippendorff_alpha."
        )
    n = raters[0]
    observed = ((values**2).sum(axis=1) - n).mean() / (n * (n - 1))
    chance = ((values.sum(axis=0) / values.sum()) ** 2).sum()
    return None if chance == 1 else float((observed - chance) / (1 - chance))
