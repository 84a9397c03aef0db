"""The control that decides: the same decoder, the same texts, somebody else's moment of brain."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .._arguments import checked
from ..errors import InputError

_ROUNDS = 1000  # of mending; a solvable draw needs about ten


@checked
def derangements(
    *blocks: Sequence[object], count: int = 100, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Draw permutations that never give a sample a partner of its own block.

    Stretches of samples move together: the blocks are laid out in a random order, each is shifted
    within itself, circularly, and the whole line is rotated past its own blocks. Neighbours stay
    neighbours, so the null keeps the autocorrelation of brain and text. Shuffled sample by sample
    it would not, and noise would be called significant several times too often.

    Parameters
    ----------
    *blocks : sequence, (N,)
        Label of each sample's run, story or scan, samples of a block in the order of time:
        neighbours in time share signal, so a partner from the same block would hand back part of
        the true brain. With several kinds of labels a partner shares none of them.
    count : int
        How many permutations.
    seed : int

    Returns
    -------
    ndarray, (count, N) int64
        Row ``r`` names the partner of every sample; each row is a permutation.

    Raises
    ------
    InputError
        One block holds more than half of the samples, or labels cross so that no such permutation
        was found.

    Notes
    -----
    p is fair where a block is long beside the time over which both brain and text stay alike.
    Where both differ between blocks as a whole (no detrending; one topic a run) only whole blocks
    are exchangeable, and a few of them cannot support a small p, whatever `count` is.
    """
    if count < 1:
        raise InputError(f"derangements: count must be >= 1, got {count}.")
    labels = _labels(blocks)  # (kinds, N)
    n = labels.shape[1]
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
    # labels that cross: rotate past the largest blocks, then swap what still clashes
    widest = labels[int(np.argmax(largest))]
    return np.stack([_mended(_rotated(widest, rng), labels, rng) for _ in range(count)])


def _labels(blocks: Sequence[Sequence[object]]) -> npt.NDArray[np.int64]:
    if not blocks or len({len(kind) for kind in blocks}) > 1:
        raise InputError(
            "derangements: blocks must be one or more sequences of equal length, got lengths "
            f"{[len(kind) for kind in blocks]}."
        )
    kinds = [np.unique(np.asarray([str(b) for b in k]), return_inverse=True)[1] for k in blocks]
    return np.stack(kinds).astype(np.int64)


def _joined(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Blocks of all kinds merged where they share a sample; nested kinds give the outermost."""
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
    """The line of all blocks in random order, laid along itself further on than any block."""
    n, sizes = len(blocks), np.bincount(blocks)
    line = np.argsort(rng.permutation(len(sizes))[blocks], kind="stable")
    own = blocks[line]  # block at each place of the line
    starts = np.flatnonzero(np.r_[True, own[1:] != own[:-1]])
    first = np.repeat(starts, sizes[own[starts]])
    # a step no shorter than any block, either way round, leaves every block
    longest = int(sizes.max())
    if (sizes == longest).all():
        step = longest * rng.integers(1, len(sizes))  # equal blocks meet end to end: fewer seams
    else:
        step = rng.integers(longest, n - longest, endpoint=True)
    # without shifts there are few pairings, and the true one is no fair draw among them
    place = np.arange(n) - first + rng.integers(sizes)[own]
    shifted = line[first + place % sizes[own]]
    partner = np.empty(n, dtype=np.int64)
    partner[line] = np.roll(shifted, -step)
    return partner


def _mended(
    partner: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Swap partners of clashing samples with random others until none clashes."""
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
        # the best swaps first; those that change nothing lead out of a dead end
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


@dataclass(frozen=True, eq=False)
class Pairs:
    """The (brain, text) pairs that a test of derangements needs, each once.

    Parameters
    ----------
    index : ndarray, (K, 2) int64
        Brain and text of every pair, sorted by brain.
    true : ndarray, (N,) int64
        Which pair is each sample's own.
    deranged : ndarray, (R, N) int64
        Which pair is each sample's text with its partner's brain.
    """

    index: npt.NDArray[np.int64]
    true: npt.NDArray[np.int64]
    deranged: npt.NDArray[np.int64]

    def gather(
        self, scores: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Lay out scores (K, ...) of the pairs as true (N, ...) and deranged (R, N, ...)."""
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
        True texts, or whatever tells them apart; a pair then names the first sample with that
        text, so equal texts are scored once.

    Returns
    -------
    Pairs

    Raises
    ------
    InputError
        Partners are no numbers of samples, or there are not as many texts.
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
    """Refuse what are no derangements of `n` samples."""
    if partners.shape[1:] != (n,) or not ((partners >= 0) & (partners < n)).all():
        raise InputError(
            f"{function}: partners must be (R, {n}) numbers of samples, got {partners.shape}."
        )
