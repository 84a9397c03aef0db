"""Scores as a function of one parameter: response delay or prompt length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ...stats.derangements import check_partners
from ...stats.inference import adjusted_p
from ..controls.conditions import pairwise_score
from ..scores import Score


@dataclass(frozen=True)
class Sweep:
    """Scores at several values of one parameter.

    Parameters
    ----------
    name, unit : str
        For instance ``"delay"`` and ``"TR"``.
    values : tuple of float
    scores : tuple of Score
    """

    name: str
    unit: str
    values: tuple[float, ...]
    scores: tuple[Score, ...]

    def adjusted_p(self) -> npt.NDArray[np.float64]:
        """P-values of the scores, adjusted over the sweep (Benjamini-Hochberg)."""
        p = [score.p for score in self.scores if score.p is not None]
        if len(p) < len(self.scores):
            raise InputError(f"Sweep.adjusted_p: every score of {self.name} must have a p.")
        return adjusted_p(p)

    def below_zero(self, level: float = 0.05) -> tuple[float, ...]:
        """Return the negative values at which the score is significantly above chance.

        Brain data from before the stimulus has no information about it. A significant score at a
        negative delay means a leak, or stimuli that resemble the preceding ones; in both cases the
        score at positive delays is not due to decoding alone.

        Parameters
        ----------
        level : float
            Largest false discovery rate, over the whole sweep.
        """
        pairs = zip(self.values, self.adjusted_p(), strict=True)
        return tuple(value for value, p in pairs if value < 0 and p <= level)


@checked
def sweep(
    evaluate: Callable[[float], Score], values: Sequence[float], *, name: str, unit: str
) -> Sweep:
    """Evaluate the score at every value of a parameter.

    Parameters
    ----------
    evaluate : callable
        Maps a value to a score. It decides whether the decoder is refitted at each value.
    values : sequence of float
    name, unit : str

    Raises
    ------
    InputError
        There is no value, or a value occurs twice.
    """
    if len(values) == 0 or len(set(values)) < len(values):
        raise InputError(f"sweep: values of {name} must be at least one, each once, got {values}.")
    return Sweep(name, unit, tuple(values), tuple(evaluate(value) for value in values))


@checked
def delay_sweep(
    evaluate: Callable[[float], Score], delays: Sequence[float], *, unit: str = "s"
) -> Sweep:
    """Evaluate the score at several delays between stimulus and brain, some negative.

    Parameters
    ----------
    evaluate : callable
        Maps a delay to a score on the same samples each time. A decoder fitted at one delay shows
        its temporal precision; a decoder refitted at each delay shows when the brain data contain
        the information.
    delays : sequence of float
        At least one is negative: brain data before the stimulus is the control of this sweep.
    unit : str
        ``"s"`` or ``"TR"``.

    Returns
    -------
    Sweep
        Check :meth:`Sweep.below_zero`.

    Raises
    ------
    InputError
        No delay is negative.
    """
    if not any(delay < 0 for delay in delays):
        raise InputError(
            f"delay_sweep: delays must hold a negative one, got {tuple(delays)}: a sweep without "
            "its control shows no leak."
        )
    return sweep(evaluate, delays, name="delay", unit=unit)


@checked
def prompt_sweep(
    true: npt.ArrayLike,
    deranged: npt.ArrayLike,
    mask: npt.NDArray[np.bool_],
    lengths: Sequence[int],
    *,
    blocks: Sequence[object],
    seed: int = 0,
    partners: npt.NDArray[np.int64] | None = None,
) -> Sweep:
    """Compute pairwise accuracy of the text after its first k tokens, for several k.

    Likelihoods for all lengths come from one pass: the first k tokens are the prompt, and only the
    tokens after them are scored.

    Parameters
    ----------
    true : array_like, (N, T)
        Negative log likelihood of every token of each true text given its brain.
    deranged : array_like, (R, N, T)
        The same given the partners' brains.
    mask : ndarray, (N, T) bool
        False at padding.
    lengths : sequence of int
        Number of text tokens before the continuation, k >= 0.
    blocks : sequence, (N,)
        Block of each sample, the unit of intervals.
    seed : int
    partners : ndarray, (R, N) int64, optional
        The derangements; equal ones then count once in p.

    Returns
    -------
    Sweep
        Texts with no token after the first k are dropped; ``n`` is the number that remain.

    Raises
    ------
    InputError
        Shapes differ, or a length leaves no text.
    """
    own, other = np.asarray(true, dtype=np.float64), np.asarray(deranged, dtype=np.float64)
    if own.shape != mask.shape or other.shape[1:] != own.shape or len(blocks) != len(own):
        raise InputError(
            "prompt_sweep: true and mask must be (N, T), deranged (R, N, T) and blocks (N,), got "
            f"{own.shape}, {mask.shape}, {other.shape} and {len(blocks)}."
        )
    if partners is not None:
        check_partners("prompt_sweep", partners, len(own))
    longest = int(mask.sum(axis=1).max())
    if any(not 0 <= k < longest for k in lengths):
        raise InputError(f"prompt_sweep: lengths must be in [0, {longest}), got {tuple(lengths)}.")

    def evaluate(k: float) -> Score:
        after = mask & (np.arange(mask.shape[1]) >= k)
        rows = np.flatnonzero(after.any(axis=1))
        weight = after[rows] / after[rows].sum(axis=1, keepdims=True)
        return pairwise_score(
            (own[rows] * weight).sum(axis=-1),
            (other[:, rows] * weight).sum(axis=-1),
            blocks=[blocks[int(i)] for i in rows],
            seed=seed,
            partners=None if partners is None else partners[:, rows],
        )

    return sweep(evaluate, tuple(lengths), name="prompt length", unit="tokens")
