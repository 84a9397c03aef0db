"""Group bootstrap and stratified permutation: families stay whole, sites stay separate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..errors import InputError


def _members(n: int, groups: Sequence[object] | None) -> list[npt.NDArray[np.int64]]:
    if groups is None:
        return [np.array([i]) for i in range(n)]
    if len(groups) != n:
        raise InputError(f"clinical: groups must name all {n} people, got {len(groups)}.")
    labels = np.unique(np.asarray([str(g) for g in groups]), return_inverse=True)[1]
    return [np.flatnonzero(labels == k) for k in range(labels.max() + 1)]


def resampled_rows(
    n: int, groups: Sequence[object] | None, count: int, seed: int
) -> list[npt.NDArray[np.int64]]:
    """Draw the rows of each bootstrap resample; groups are drawn as a whole."""
    members = _members(n, groups)
    drawn = np.random.default_rng(seed).integers(len(members), size=(count, len(members)))
    return [np.concatenate([members[k] for k in row]) for row in drawn]


def permuted_rows(
    n: int,
    groups: Sequence[object] | None,
    strata: Sequence[object] | None,
    count: int,
    seed: int,
) -> npt.NDArray[np.int64]:
    """Permute rows (R, N): groups of equal size are exchanged within a stratum."""
    if strata is not None and len(strata) != n:
        raise InputError(f"clinical: strata must name all {n} people, got {len(strata)}.")
    alike: dict[tuple[str, int], list[npt.NDArray[np.int64]]] = {}
    for rows in _members(n, groups):
        homes = {"" if strata is None else str(strata[i]) for i in rows}
        if len(homes) > 1:
            raise InputError(f"clinical: a group must lie in one stratum, got {sorted(homes)}.")
        alike.setdefault((homes.pop(), len(rows)), []).append(rows)
    if all(len(pool) == 1 for pool in alike.values()):
        raise InputError(
            "clinical: two groups or more must have the same size and stratum, got none: nothing "
            "can be permuted. Use finer groups."
        )
    rng = np.random.default_rng(seed)
    permuted = np.tile(np.arange(n), (count, 1))
    for pool in alike.values():
        places = np.stack(pool)
        for row in permuted:
            row[places.ravel()] = places[rng.permutation(len(places))].ravel()
    return permuted
