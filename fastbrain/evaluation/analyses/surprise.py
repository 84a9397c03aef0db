"""Pairwise accuracy by how surprising the text is to the language model alone.

Predictable words need no brain. If accuracy does not rise with surprise, the brain may affect only
what the language model predicts anyway (BrainLLM, arXiv 2311.09889, figure 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ...stats.derangements import check_partners
from ..controls.conditions import DERANGED, TRUE, Conditions, pairwise_score
from ..scores import Score


@dataclass(frozen=True)
class SurpriseBin:
    """Samples with similar surprise under a language model.

    Parameters
    ----------
    low, high : float
        Smallest and largest surprise of the bin, nats per token.
    score : Score
        Pairwise accuracy of the bin.
    """

    low: float
    high: float
    score: Score


@checked
def surprise_bins(
    surprise: npt.ArrayLike,
    true: npt.ArrayLike,
    other: npt.ArrayLike,
    *,
    blocks: Sequence[object],
    control: str = DERANGED,
    bins: int = 5,
    seed: int = 0,
    partners: npt.NDArray[np.int64] | None = None,
) -> tuple[SurpriseBin, ...]:
    """Compute pairwise accuracy in bins of equal size, from expected to surprising texts.

    Parameters
    ----------
    surprise : array_like, (N,)
        Cross entropy of each true text without any brain, nats per token.
    true : array_like, (N,)
        Mean negative log likelihood of each true text given its brain.
    other : array_like, (R, N) or (N,)
        The same under derangements, or under one other control.
    blocks : sequence, (N,)
        Block of each sample, the unit of intervals and sign flips.
    control : str
        Name of the control in `other`.
    bins : int
    seed : int
    partners : ndarray, (R, N) int64, optional
        The derangements; equal ones then count once in p.

    Returns
    -------
    tuple of SurpriseBin
        Equal surprises at a bin border are split in the order of the samples.

    Raises
    ------
    InputError
        Shapes differ, a surprise is not finite, or there are more bins than samples.
    """
    level, own, rest = (np.asarray(v, dtype=np.float64) for v in (surprise, true, other))
    n = level.size
    shapes_agree = level.shape == own.shape == rest.shape[-1:] and len(blocks) == n
    if not shapes_agree or not np.isfinite(level).all():
        raise InputError(
            "surprise_bins: surprise, true and blocks must be finite (N,) and other (R, N) or "
            f"(N,), got {level.shape}, {own.shape}, {len(blocks)} and {rest.shape}."
        )
    if not 1 <= bins <= n:
        raise InputError(f"surprise_bins: bins must be in [1, {n}], got {bins}.")
    if partners is not None:
        check_partners("surprise_bins", partners, n)
    parts = np.array_split(np.argsort(level, kind="stable"), bins)
    return tuple(
        SurpriseBin(
            float(level[part[0]]),
            float(level[part[-1]]),
            pairwise_score(
                own[part],
                rest[..., part],
                blocks=[blocks[i] for i in part],
                control=control,
                seed=seed,
                partners=None if partners is None else partners[:, part],
            ),
        )
        for part in parts
    )


@checked
def by_surprise(
    conditions: Conditions, *, control: str = DERANGED, bins: int = 5, seed: int = 0
) -> tuple[SurpriseBin, ...]:
    """Compute :func:`surprise_bins` of controls; surprise comes from the untuned model.

    Parameters
    ----------
    conditions : Conditions
    control : str
    bins : int
    seed : int

    Raises
    ------
    InputError
        A required control has no likelihoods.
    """
    nll = {name: conditions[name].nll for name in ("untuned model", TRUE, control)}
    missing = [name for name, values in nll.items() if values is None]
    if missing:
        raise InputError(f"by_surprise: conditions must hold likelihoods of {missing}, got none.")
    level, own, other = (values for values in nll.values() if values is not None)
    return surprise_bins(
        level,
        own,
        other,
        blocks=conditions.blocks,
        control=control,
        bins=bins,
        seed=seed,
        partners=conditions.partners if control == DERANGED else None,
    )
