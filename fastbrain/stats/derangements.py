"""Derangements: pair each text with the brain data of another block, as the main control."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .._arguments import checked
from ..errors import InputError

_ROUNDS = 1000  # rounds of swaps; a solvable draw needs about ten
_FEWEST = 100  # with fewer, p cannot reach 0.01


def check_count(count: int, *, function: str) -> None:
    """Raise for too few derangements of an evaluation.

    Raises
    ------
    InputError
    """
    if count < _FEWEST:
        raise InputError(
            f"{function}: there must be at least {_FEWEST} derangements, got {count}: p could not "
            "be small."
        )


@checked
def derangements(
    *blocks: Sequence[object],
    count: int = 100,
    seed: int = 0,
    within: Sequence[object] | None = None,
) -> npt.NDArray[np.int64]:
    """Draw permutations that never pair a sample with a partner from its own block.

    Stretches of samples move together: the blocks are concatenated in random order, each block is
    shifted circularly within itself, and the whole sequence is rotated by at least the length of
    the longest block. Adjacent samples stay adjacent, so the null distribution keeps the
    autocorrelation of brain and text. Shuffling single samples would destroy it, and noise would be
    significant several times too often.

    Parameters
    ----------
    *blocks : sequence, (N,)
        Label of each sample's run, story or scan, with the samples of a block in temporal order:
        samples close in time share signal, so a partner from the same block would contain part of
        the true brain. With several kinds of labels, a partner shares none of them.
    count : int
        Number of permutations.
    seed : int
    within : sequence, (N,), optional
        Label that every partner shares, for instance the question that a sample is asked. The
        samples of each label are permuted among themselves, by the same draws for all labels.

    Returns
    -------
    ndarray, (count, N) int64
        Row ``r`` contains the partner index of every sample; each row is a permutation.

    Raises
    ------
    InputError
        One block has more than half of the samples, or labels cross so that no such permutation
        was found.

    Notes
    -----
    p is valid if blocks are long compared with the autocorrelation time of brain and text. If both
    differ between whole blocks (no detrending; one topic per run), only whole blocks are
    exchangeable, and a few blocks cannot support a small p, for any `count`.
    """
    if count < 1:
        raise InputError(f"derangements: count must be >= 1, got {count}.")
    labels = _labels(blocks)  # (kinds, N)
    n = labels.shape[1]
    if within is not None:
        return _within(labels, within, count, seed)
    largest = [int(np.bincount(kind).max()) if n else 0 for kind in labels]
    if n < 2 or 2 * max(largest) > n:
        raise InputError(
            f"derangements: every block must hold at most half of the samples, got {max(largest)} "
            f"of {n} in one. Evaluate more runs, or use finer blocks."
        )
    rng = np.random.default_rng(seed)
    joined = _joined(labels)
    if 2 * int(np.bincount(joined).max()) <= n:
        return np.stack([_rotated(joined, rng) for _ in range(count)])
    # labels cross: rotate by the largest blocks, then swap the pairs that still share a label
    widest = labels[int(np.argmax(largest))]
    return np.stack([_mended(_rotated(widest, rng), labels, rng) for _ in range(count)])


def _within(
    labels: npt.NDArray[np.int64], within: Sequence[object], count: int, seed: int
) -> npt.NDArray[np.int64]:
    n = labels.shape[1]
    if len(within) != n:
        raise InputError(f"derangements: within must be all {n} labels, got {len(within)}.")
    partners = np.empty((count, n), dtype=np.int64)
    shared = np.array([str(label) for label in within])
    for label in np.unique(shared):
        own = np.flatnonzero(shared == label)
        # the same seed, so that neighbours with different labels move together where they can
        partners[:, own] = own[derangements(*labels[:, own].tolist(), count=count, seed=seed)]
    return partners


def _labels(blocks: Sequence[Sequence[object]]) -> npt.NDArray[np.int64]:
    if not blocks or len({len(kind) for kind in blocks}) > 1:
        raise InputError(
            "derangements: blocks must be one or more sequences of equal length, got lengths "
            f"{[len(kind) for kind in blocks]}."
        )
    kinds = [np.unique(np.asarray([str(b) for b in k]), return_inverse=True)[1] for k in blocks]
    return np.stack(kinds).astype(np.int64)


def _joined(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Merge blocks of all kinds that share a sample; nested kinds give the outermost blocks."""
    if len(labels) == 1:
        return labels[0]
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    kinds, n = labels.shape
    offsets = n + np.cumsum([0, *(kind.max() + 1 for kind in labels[:-1])])
    ends = (labels + offsets[:, None]).ravel()
    size = int(ends.max()) + 1
    edges = coo_array((np.ones(kinds * n), (np.tile(np.arange(n), kinds), ends)), (size, size))
    return connected_components(edges, directed=False)[1][:n].astype(np.int64)


def _rotated(blocks: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Concatenate the blocks in random order and rotate by at least the longest block."""
    n, sizes = len(blocks), np.bincount(blocks)
    line = np.argsort(rng.permutation(len(sizes))[blocks], kind="stable")
    own = blocks[line]  # block at each position of the sequence
    starts = np.flatnonzero(np.r_[True, own[1:] != own[:-1]])
    first = np.repeat(starts, sizes[own[starts]])
    # a step of at least the longest block in both directions leaves every block
    longest = int(sizes.max())
    if (sizes == longest).all():
        step = longest * rng.integers(1, len(sizes))  # equal blocks stay aligned: fewer seams
    else:
        step = rng.integers(longest, n - longest, endpoint=True)
    # without shifts within blocks there are too few pairings for a valid null distribution
    place = np.arange(n) - first + rng.integers(sizes)[own]
    shifted = line[first + place % sizes[own]]
    partner = np.empty(n, dtype=np.int64)
    partner[line] = np.roll(shifted, -step)
    return partner


def _mended(
    partner: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Swap partners of samples in conflict with random others until no conflict is left."""
    n = len(partner)

    def clash(rows: npt.NDArray[np.int64], to: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        return (labels[:, rows] == labels[:, to]).any(axis=0)

    for _ in range(_ROUNDS):
        bad = np.flatnonzero(clash(np.arange(n), partner))
        if bad.size == 0:
            return partner
        a = np.tile(bad, 16)
        b = rng.integers(n, size=a.size)
        before = 1 + clash(b, partner[b]).astype(np.int64)
        worse = clash(a, partner[b]).astype(np.int64) + clash(b, partner[a]) - before
        # best swaps first; neutral swaps help to escape dead ends
        order = np.argsort(worse, kind="stable")[: int((worse <= 0).sum())]
        a, b, swap = a[order], b[order], np.arange(order.size)
        first = np.full(n, a.size)
        np.minimum.at(first, np.concatenate([a, b]), np.tile(swap, 2))
        alone = (first[a] == swap) & (first[b] == swap)  # no sample is in two swaps at once
        a, b = a[alone], b[alone]
        partner[a], partner[b] = partner[b], partner[a]
    raise InputError(
        f"derangements: blocks must leave every sample a partner, got labels that cross so that "
        f"{bad.size} of {n} samples have none. Give fewer kinds of labels."
    )


def distinct_rows(rows: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the index of the first of each group of equal rows of an array (R, N).

    Few samples have few derangements, and a draw repeats them. A derangement that is drawn twice
    is no second observation: counted twice, it would make p smaller than 1 / (distinct + 1).
    """
    first: dict[bytes, int] = {}
    for i, row in enumerate(np.ascontiguousarray(rows)):
        first.setdefault(row.tobytes(), i)
    return np.array(list(first.values()), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Distinct (brain, text) pairs needed for a derangement test.

    Parameters
    ----------
    index : ndarray, (K, 2) int64
        Brain and text index of every pair, sorted by brain.
    true : ndarray, (N,) int64
        Index of the pair of each sample's brain and text.
    deranged : ndarray, (R, N) int64
        Index of the pair of each sample's text and its partner's brain.
    """

    index: npt.NDArray[np.int64]
    true: npt.NDArray[np.int64]
    deranged: npt.NDArray[np.int64]

    def gather(
        self, scores: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Expand scores (K, ...) of the pairs to true (N, ...) and deranged (R, N, ...)."""
        values = np.asarray(scores, dtype=np.float64)
        if len(values) != len(self.index):
            raise InputError(
                f"Pairs.gather: scores must be ({len(self.index)}, ...), got {values.shape}."
            )
        return values[self.true], values[self.deranged]


@checked
def needed_pairs(partners: npt.NDArray[np.int64], texts: Sequence[Hashable] | None = None) -> Pairs:
    """List the pairs to score for N samples and R derangements: at most N (R + 1) of the N².

    Parameters
    ----------
    partners : ndarray, (R, N) int64
        From :func:`derangements`.
    texts : sequence, (N,), optional
        True texts, or keys that identify them; a pair then refers to the first sample with that
        text, so equal texts are scored once.

    Returns
    -------
    Pairs

    Raises
    ------
    InputError
        Partners are not valid sample indices, or the number of texts is not N.
    """
    n = partners.shape[-1] if partners.ndim else 0
    check_partners("needed_pairs", partners, n)
    text = np.arange(n)
    if texts is not None:
        if len(texts) != n:
            raise InputError(f"needed_pairs: texts must be all {n}, got {len(texts)}.")
        first: dict[Hashable, int] = {}
        text = np.array([first.setdefault(words, i) for i, words in enumerate(texts)])
    codes = np.concatenate([np.arange(n)[None], partners]) * n + text  # (1 + R, N)
    unique, where = np.unique(codes, return_inverse=True)
    where = where.reshape(codes.shape)
    return Pairs(np.stack(np.divmod(unique, n), axis=1), where[0], where[1:])


def check_partners(function: str, partners: npt.NDArray[np.int64], n: int) -> None:
    """Require partners (R >= 1, n) of valid sample indices, none its own."""
    right = partners.ndim == 2 and len(partners) and partners.shape[1] == n
    if not right or not ((partners >= 0) & (partners < n)).all():
        raise InputError(
            f"{function}: partners must be (R >= 1, {n}) numbers of samples, got shape "
            f"{partners.shape}."
        )
    own = int((partners == np.arange(n)).sum())
    if own:
        raise InputError(
            f"{function}: partners must be other samples, got {own} that are the sample itself. "
            "Make them with fastbrain.stats.derangements."
        )
