"""Order of an epoch in batches of windows of one kind: of one grid and one length."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt


def epoch_batches(
    kinds: Sequence[Hashable],
    *,
    batch_size: int,
    drop_last: bool,
    generator: np.random.Generator | None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Order windows so that every batch holds windows of one kind, and every window comes once.

    Windows are shuffled, dealt to the batches of their kind in that order, and the batches are
    shuffled. With one kind, batches are consecutive parts of the shuffled windows.

    Parameters
    ----------
    kinds : sequence of hashable
        Kind of each window, (N,).
    batch_size : int
        Largest number of windows in a batch; the last batch of each kind may be smaller.
    drop_last : bool
        Whether to leave out these smaller batches.
    generator : numpy.random.Generator or None
        None: windows in their order, and batches by their first window.

    Returns
    -------
    order : ndarray, (M,) int64
        Windows of one batch after another; M = N unless `drop_last`.
    ends : ndarray, (B,) int64
        Number of windows up to the end of each batch, ascending.
    """
    n = len(kinds)
    shuffled = np.arange(n) if generator is None else generator.permutation(n)
    groups: dict[Hashable, list[int]] = {}
    for index in shuffled.tolist():
        groups.setdefault(kinds[index], []).append(index)
    batches = [
        members[begin : begin + batch_size]
        for members in groups.values()
        for begin in range(0, len(members), batch_size)
    ]
    if drop_last:
        batches = [batch for batch in batches if len(batch) == batch_size]
    if len(groups) > 1:
        if generator is None:
            batches.sort(key=lambda batch: batch[0])
        else:
            batches = [batches[i] for i in generator.permutation(len(batches))]
    order = np.array([index for batch in batches for index in batch], dtype=np.int64)
    return order, np.cumsum([len(batch) for batch in batches], dtype=np.int64)
