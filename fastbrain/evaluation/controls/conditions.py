"""What a decoder said under every control, and the scores that follow from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ...stats.inference import bootstrap_interval, effect_size, sign_flip_p
from ..scores import Score
from .likelihoods import pairwise_gathered

TRUE, DERANGED = "true brain", "deranged brain"


@dataclass(frozen=True, eq=False)
class Control:
    """What a decoder says under one control.

    Parameters
    ----------
    name : str
        For instance ``"zero brain"``.
    texts : tuple of str, (N,), or None
        Free-running, one a sample.
    nll : ndarray, (N,) float64, or None
        Teacher-forced mean negative log likelihood of each sample's true text, nats a token.
        (R, N) for ``"deranged brain"``.
    note : str
        What a reader must know.
    """

    name: str
    texts: tuple[str, ...] | None = None
    nll: npt.NDArray[np.float64] | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class Conditions:
    """The true brain and its controls over the same samples; a mapping of names to controls.

    Parameters
    ----------
    truth : tuple of str, (N,)
    partners : ndarray, (R, N) int64
        Derangements: whose brain stands in for whose.
    blocks : tuple of str, (N,)
        Unit of intervals and sign flips.
    controls : dict
    """

    truth: tuple[str, ...]
    partners: npt.NDArray[np.int64]
    blocks: tuple[str, ...]
    controls: dict[str, Control]

    def __getitem__(self, name: str) -> Control:
        if name not in self.controls:
            raise InputError(
                f"Conditions: name must be one of {list(self.controls)}, got {name!r}."
            )
        return self.controls[name]

    def __iter__(self) -> Iterator[Control]:
        return iter(self.controls.values())

    def deranged_texts(self, row: int) -> list[str]:
        """What the decoder says of every sample's partner in derangement `row`: no new decoding."""
        said = self.controls[TRUE].texts
        assert said is not None
        return [said[i] for i in self.partners[row]]

    def pairwise(self, control: str = DERANGED, *, seed: int = 0) -> Score:
        """Share of samples whose true text is likelier from the true brain than under a control.

        Parameters
        ----------
        control : str
            One that has likelihoods.
        seed : int

        Returns
        -------
        Score
            Teacher-forced; ties count a half, chance is 0.5. p of ``"deranged brain"`` is the
            permutation p, of all others a sign flip of whole blocks.

        Raises
        ------
        InputError
            The control has no likelihoods.
        """
        own, other = self[TRUE].nll, self[control].nll
        if own is None or other is None or control == TRUE:
            raise InputError(
                f"Conditions.pairwise: control must have likelihoods of its own, got {control!r}."
            )
        return pairwise_score(own, other, control=control, blocks=self.blocks, seed=seed)

    def scores(self, *, seed: int = 0) -> list[Score]:
        """:meth:`pairwise` against every control that has likelihoods."""
        return [
            self.pairwise(c.name, seed=seed) for c in self if c.nll is not None and c.name != TRUE
        ]


@checked
def pairwise_score(
    true: npt.NDArray[np.float64],
    other: npt.NDArray[np.float64],
    *,
    blocks: Sequence[object],
    control: str = DERANGED,
    seed: int = 0,
) -> Score:
    """Pairwise accuracy of the true brain against a control, beside its chance level.

    Parameters
    ----------
    true : ndarray, (N,)
        Mean negative log likelihood of each true text, nats a token.
    other : ndarray, (R, N) or (N,)
        The same under R derangements, or under one control of another kind.
    blocks : sequence, (N,)
        Unit of the interval and of the sign flips.
    control : str
    seed : int

    Returns
    -------
    Score
        Teacher-forced; ties count a half, chance is 0.5. One-sided p of the mean likelihood: the
        permutation p of derangements, a sign flip of whole blocks for one control.
    """
    if true.ndim != 1 or len(true) != len(blocks):
        raise InputError(
            f"pairwise_score: true and blocks must be (N,), got {true.shape} and {len(blocks)}."
        )
    result = pairwise_gathered(true, np.atleast_2d(other))
    p, how = result.p, f"{len(other)} derangements"
    if other.ndim == 1:
        p, how = block_flip_p(other - true, blocks, seed=seed), "sign flips of blocks"
    difference = np.atleast_2d(other).mean(axis=0) - true
    return Score(
        metric="pairwise",
        mode="teacher-forced",
        value=result.accuracy,
        n=len(true),
        chance=0.5,
        control=control,
        p=p,
        interval=bootstrap_interval(result.per_sample, blocks=blocks, seed=seed),
        signature=f"mean NLL a token, true vs {control}, ties 0.5; p: {how}",
        effect=block_effect(difference, blocks),
    )


@checked
def block_flip_p(differences: npt.ArrayLike, blocks: Sequence[object], *, seed: int = 0) -> float:
    """One-sided p of a mean difference whose sign may flip by whole blocks.

    Parameters
    ----------
    differences : array_like, (N,)
        Larger is better.
    blocks : sequence, (N,)
        Samples of a block are not independent: they flip together.
    seed : int

    Raises
    ------
    InputError
        Sizes disagree, there is no sample, or a difference is not finite.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or len(values) != len(blocks) or not len(values):
        raise InputError(
            "block_flip_p: differences and blocks must be (N >= 1,), got "
            f"{values.shape} and {len(blocks)}."
        )
    labels = np.unique([str(b) for b in blocks], return_inverse=True)[1]
    return sign_flip_p(np.bincount(labels, weights=values), seed=seed)


def block_effect(differences: npt.ArrayLike, blocks: Sequence[object]) -> float | None:
    """Cohen's d_z of the mean differences of blocks; None where it is undefined.

    Parameters
    ----------
    differences : array_like, (N,)
        Larger is better.
    blocks : sequence, (N,)

    Returns
    -------
    float or None
        None for a single block, or where all blocks differ alike.
    """
    labels = np.unique([str(b) for b in blocks], return_inverse=True)[1]
    values = np.asarray(differences, dtype=np.float64)
    means = np.bincount(labels, weights=values) / np.bincount(labels)
    if len(means) < 2 or np.ptp(means) <= 1e-12 * np.abs(means).max():
        return None
    return effect_size(means)
