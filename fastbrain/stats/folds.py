"""Cross-validation folds of whole groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from .._arguments import checked, shown
from ..errors import InputError


@checked(least={"n_folds": 2})
def group_folds(
    groups: Sequence[object],
    n_folds: int,
    *,
    order: Literal["size", "appearance"] = "size",
    seed: int | None = None,
) -> npt.NDArray[np.int64]:
    """Assign samples to folds, such that no group is in two folds.

    Parameters
    ----------
    groups : sequence, (N,)
        Group of each sample: its passage, story, run or person.
    n_folds : int
        At least 2.
    order : {"size", "appearance"}
        ``"size"``: groups in order of decreasing size, each to the fold with the fewest samples, so
        that folds are about equally large. ``"appearance"``: groups in order of first appearance,
        to the folds in turn, as in :func:`fit_ridge`.
    seed : int, optional
        With ``"size"``: shuffles groups of equal size. Default: their order of first appearance.

    Returns
    -------
    ndarray, (N,) int64
        Fold of each sample, from 0. Every fold has a group.

    Raises
    ------
    InputError
        There are fewer groups than folds, a group has no name, or a seed is given where nothing is
        shuffled.
    """
    require_names("group_folds", groups)
    sizes = Counter(groups)  # in order of first appearance
    if len(sizes) < n_folds:
        raise InputError(
            f"group_folds: groups must be at least the {n_folds} folds, got {len(sizes)}. Take "
            "fewer folds, or smaller groups."
        )
    names = list(sizes)
    if order == "appearance":
        if seed is not None:
            raise InputError(
                f"group_folds: seed must be None with order 'appearance', got {seed}. Leave it out."
            )
        fold_of = {name: i % n_folds for i, name in enumerate(names)}
    else:
        if seed is not None:
            names = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
        fold_of, filled = {}, [0] * n_folds
        for name in sorted(names, key=lambda name: -sizes[name]):
            fold_of[name] = smallest = min(range(n_folds), key=filled.__getitem__)
            filled[smallest] += sizes[name]
    return np.array([fold_of[group] for group in groups], dtype=np.int64)


def require_names(function: str, groups: Sequence[object]) -> None:
    """Raise for names by which the samples of one group would be in several groups.

    Raises
    ------
    InputError
        A name is NaN, which does not equal itself, or an array, which is not compared by value.
    """
    for i, name in enumerate(groups):
        if not _names(name):
            raise InputError(
                f"{function}: groups must be names, got {shown(name)} for sample {i}. Name the "
                "group of every sample by a number or a str."
            )


def _names(value: object) -> bool:
    if hasattr(value, "__array__") and not isinstance(value, np.generic):
        return False
    try:
        return bool(value == value)
    except TypeError:  # pandas.NA
        return False
