"""Ranks of every true text among its candidates, for every written text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...errors import InputError

Matrix = npt.NDArray[np.float64]
_Labels = npt.NDArray[np.int64]


class Candidates:
    """Wrong candidates of each true text that are more similar to a written text than it is.

    Parameters
    ----------
    similarity : ndarray, (N, N)
        Of written texts (rows) with true texts (columns).
    exclude : sequence, (N,) or empty
        Other true texts of the same label are no candidates.
    groups : sequence, (N,) or empty
        Only true texts of the same group are candidates.

    Attributes
    ----------
    above, equal : ndarray, (N, N) int64
        For written text i and true text j: the wrong candidates of j that are more similar to i
        than j is, and those that are equally similar.
    others : ndarray, (N,) int64
        Number of wrong candidates of each true text.

    Raises
    ------
    InputError
        The matrix is not square and finite, or a true text has no wrong candidate.
    """

    def __init__(
        self, similarity: Matrix, exclude: Sequence[object] = (), groups: Sequence[object] = ()
    ) -> None:
        n = len(similarity)
        if similarity.shape != (n, n) or n < 2 or not np.isfinite(similarity).all():
            raise InputError(
                "identification_from_text: similarity must be (N >= 2, N) and finite, got "
                f"{similarity.shape}."
            )
        group = _labels(groups, n, "groups", default=np.zeros(n, dtype=np.int64))
        label = _labels(exclude, n, "exclude", default=np.arange(n))
        alone = len(np.unique(label)) == n
        self.above = np.zeros((n, n), dtype=np.int64)
        self.equal = np.zeros((n, n), dtype=np.int64)
        self.others = np.zeros(n, dtype=np.int64)
        for g in np.unique(group):
            members = np.flatnonzero(group == g)
            self._add(similarity, members, 1)
            # the true text itself is among those of its label, so it is taken away too
            for own in () if alone else np.unique(label[members]):
                self._add(similarity, members[label[members] == own], -1)
        if alone:
            self.equal -= 1
            self.others -= 1
        if not (self.others > 0).all():
            raise InputError(
                "identification_from_text: every text must have a wrong candidate, got "
                f"{int((self.others == 0).sum())} of {n} without one. Exclude less."
            )

    def _add(self, similarity: Matrix, members: _Labels, sign: int) -> None:
        part = similarity[:, members]
        ordered = np.sort(part, axis=1)
        low, high = (
            np.stack([np.searchsorted(o, row, side) for o, row in zip(ordered, part, strict=True)])
            for side in ("left", "right")
        )
        self.above[:, members] += sign * (len(members) - high)
        self.equal[:, members] += sign * (high - low)
        self.others[members] += sign * len(members)

    @property
    def fewest(self) -> int:
        """Smallest number of candidates, the true text included."""
        return int(self.others.min()) + 1

    @property
    def most(self) -> int:
        """Largest number of candidates, the true text included."""
        return int(self.others.max()) + 1

    def check(self, sizes: Sequence[int], ks: Sequence[int]) -> None:
        """Raise for numbers of candidates that not every text has, and for k below 1.

        Raises
        ------
        InputError
        """
        if any(not 2 <= size <= self.fewest for size in sizes):
            raise InputError(
                f"identification_from_text: sizes must be in [2, {self.fewest}], the fewest "
                f"candidates of a text, got {tuple(sizes)}."
            )
        if any(k < 1 for k in ks):
            raise InputError(f"identification_from_text: ks must be >= 1, got {tuple(ks)}.")

    def shares(self, k: int | None, size: int | None) -> Matrix:
        """Two-way score (k None), or probability that the true text is among the first k.

        Parameters
        ----------
        k : int or None
        size : int or None
            Number of candidates of which all but the true text are drawn; None: all.

        Returns
        -------
        ndarray, (N, N) float64
            For written text i and true text j. Ties count as ranked in random order.
        """
        if k is None:
            return np.asarray((self.others - self.above - 0.5 * self.equal) / self.others)
        found = np.empty(self.above.shape)
        for others in np.unique(self.others):
            columns = self.others == others
            within = _within(k, int(others), size)
            total = np.concatenate([[0.0], np.cumsum(within)])
            above, equal = self.above[:, columns], self.equal[:, columns]
            found[:, columns] = (total[above + equal + 1] - total[above]) / (equal + 1)
        return found


def _within(k: int, others: int, size: int | None) -> Matrix:
    """Probability that fewer than k of a drawn set are above, for 0 to `others` that are above."""
    above = np.arange(others + 1)
    if size is None:
        return (above < k).astype(np.float64)
    from scipy.stats import hypergeom

    return np.asarray(hypergeom.cdf(k - 1, others, above, size - 1), dtype=np.float64)


def _labels(given: Sequence[object], n: int, name: str, *, default: _Labels) -> _Labels:
    if not len(given):
        return default
    if len(given) != n:
        raise InputError(
            f"identification_from_text: {name} must name all {n} samples, got {len(given)}."
        )
    return np.unique([str(g) for g in given], return_inverse=True)[1].reshape(-1)
