"""A score as a function of one knob: the delay of the response, the length of the prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ...stats.inference import adjusted_p
from ..controls.conditions import pairwise_score
from ..scores import Score


@dataclass(frozen=True)
class Sweep:
    """Scores beside the values of what was varied.

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
        """Negative values at which the score still beats chance.

        Brain from before the stimulus cannot know it. A delay sweep with any of these shows a
        leak, or stimuli that resemble the ones before them; either way, the score at positive
        delays is not all decoding.

        Parameters
        ----------
        level : float
            False discovery rate over the whole sweep.
        """
        pairs = zip(self.values, self.adjusted_p(), strict=True)
        return tuple(value for value, p in pairs if value < 0 and p <= level)


@checked
def sweep(
    evaluate: Callable[[float], Score], values: Sequence[float], *, name: str, unit: str
) -> Sweep:
    """Evaluate at every value.

    Parameters
    ----------
    evaluate : callable
        Value to score. Whether the decoder is fitted anew at each value is up to this function.
    values : sequence of float
    name, unit : str

    Raises
    ------
    InputError
        There is no value, or one comes twice.
    """
    if len(values) == 0 or len(set(values)) < len(values):
        raise InputError(f"sweep: values of {name} must be at least one, each once, got {values}.")
    return Sweep(name, unit, tuple(values), tuple(evaluate(value) for value in values))


@checked
def delay_sweep(
    evaluate: Callable[[float], Score], delays: Sequence[float], *, unit: str = "s"
) -> Sweep:
    """Score at several delays between stimulus and brain, some of them negative.

    Parameters
    ----------
    evaluate : callable
        Delay to score, of the same samples every time. A decoder fitted at one delay shows how
        sharp it is in time; one fitted anew at each delay shows when the brain knows.
    delays : sequence of float
        At least one negative: brain before the stimulus is the control of this sweep.
    unit : str
        ``"s"`` or ``"TR"``.

    Returns
    -------
    Sweep
        Look at its :meth:`Sweep.below_zero`.

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
) -> Sweep:
    """Pairwise accuracy of what follows the first k tokens of the text, for several k.

    Likelihoods of all lengths come from one pass: the tokens before k are the prompt, and only
    those from k on are scored.

    Parameters
    ----------
    true : array_like, (N, T)
        Negative log likelihood of every token of each true text given its brain.
    deranged : array_like, (R, N, T)
        The same given its partners' brains.
    mask : ndarray, (N, T) bool
        False at padding.
    lengths : sequence of int
        Tokens of text before the continuation, k >= 0.
    blocks : sequence, (N,)
        Unit of intervals.
    seed : int

    Returns
    -------
    Sweep
        Texts that are over before k are left out; ``n`` says how many remain.

    Raises
    ------
    InputError
        Shapes disagree, or a length leaves no text.
    """
    own, other = np.asarray(true, dtype=np.float64), np.asarray(deranged, dtype=np.float64)
    if own.shape != mask.shape or other.shape[1:] != own.shape or len(blocks) != len(own):
        raise InputError(
            "prompt_sweep: true and mask must be (N, T), deranged (R, N, T) and blocks (N,), got "
            f"{own.shape}, {mask.shape}, {other.shape} and {len(blocks)}."
        )
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
        )

    return sweep(evaluate, tuple(lengths), name="prompt length", unit="tokens")
