"""Outputs and likelihoods of a decoder under every control, and pairwise accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ...stats.derangements import distinct_rows
from ...stats.inference import block_flip_p, bootstrap_interval, effect_size
from ..scores import Score
from .likelihoods import pairwise_gathered

TRUE, DERANGED = "true brain", "deranged brain"


@dataclass(frozen=True, eq=False)
class Control:
    """Texts and likelihoods of a decoder under one control.

    Parameters
    ----------
    name : str
        For instance ``"zero brain"``.
    texts : tuple of str, (N,), or None
        Free-running texts, one per sample; None for derangements with re-indexed texts.
    nll : ndarray, (N,) float64, or None
        Teacher-forced mean negative log likelihood of each sample's true text, nats per token.
        (R, N) for ``"deranged brain"``.
    note : str
        Remark for the report.
    """

    name: str
    texts: tuple[str, ...] | None = None
    nll: npt.NDArray[np.float64] | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class Conditions:
    """True brain and controls on the same samples; indexed by control name.

    Parameters
    ----------
    truth : tuple of str, (N,)
    partners : ndarray, (R, N) int64
        Derangements: index of the sample that provides the brain of each sample.
    blocks : tuple of str, (N,)
        Blocks of samples, the unit of intervals and sign flips.
    controls : dict
    prompts : tuple of str
        Text before each sample's text (its question, or the words that it continues), if any.
    """

    truth: tuple[str, ...]
    partners: npt.NDArray[np.int64]
    blocks: tuple[str, ...]
    controls: dict[str, Control]
    prompts: tuple[str, ...] = ()

    @property
    def questions(self) -> tuple[str, ...]:
        """Prompts, if they differ and all partners have the sample's own one; else empty."""
        shared = len(set(self.prompts)) > 1 and same_prompts(self.prompts, self.partners)
        return self.prompts if shared else ()

    @property
    def distinct(self) -> int:
        """Number of different derangements: few samples have few, and equal ones count once."""
        return len(distinct_rows(self.partners))

    @property
    def rewritten(self) -> tuple[str, ...] | None:
        """Texts of the first derangement after each sample's own prompt; None if re-indexed."""
        return self.controls[DERANGED].texts if DERANGED in self.controls else None

    def __getitem__(self, name: str) -> Control:
        if name not in self.controls:
            raise InputError(
                f"Conditions: name must be one of {list(self.controls)}, got {name!r}."
            )
        return self.controls[name]

    def __iter__(self) -> Iterator[Control]:
        return iter(self.controls.values())

    def deranged_texts(self, row: int) -> list[str]:
        """Texts of every sample's partner in derangement `row`, without new decoding.

        Raises
        ------
        InputError
            Partners have other prompts, and the row is not the one that was written again.
        """
        if self.rewritten is not None:
            if row:
                raise InputError(
                    "Conditions.deranged_texts: row must be 0 where partners have other prompts, "
                    f"got {row}."
                )
            return list(self.rewritten)
        said = self.controls[TRUE].texts
        assert said is not None
        return [said[i] for i in self.partners[row]]

    def pairwise(self, control: str = DERANGED, *, seed: int = 0) -> Score:
        """Share of samples with a likelier true text from the true brain than under a control.

        Parameters
        ----------
        control : str
            Name of a control with likelihoods.
        seed : int

        Returns
        -------
        Score
            Teacher-forced; ties count a half, chance is 0.5. p is the permutation p for
            ``"deranged brain"``, and from sign flips of whole blocks for all other controls.

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
        return pairwise_score(
            own,
            other,
            control=control,
            blocks=self.blocks,
            seed=seed,
            partners=self.partners if other.ndim == 2 else None,
        )

    def scores(self, *, seed: int = 0) -> list[Score]:
        """:meth:`pairwise` against every control that has likelihoods."""
        return [
            self.pairwise(c.name, seed=seed) for c in self if c.nll is not None and c.name != TRUE
        ]


def same_prompts(prompts: Sequence[str], partners: npt.NDArray[np.int64]) -> bool:
    """Whether every partner (R, N) has the prompt of its sample."""
    labels = np.unique(np.array([str(p) for p in prompts]), return_inverse=True)[1]
    return bool((labels[partners] == labels).all())


@checked
def pairwise_score(
    true: npt.NDArray[np.float64],
    other: npt.NDArray[np.float64],
    *,
    blocks: Sequence[object],
    control: str = DERANGED,
    seed: int = 0,
    partners: npt.NDArray[np.int64] | None = None,
) -> Score:
    """Pairwise accuracy of the true brain against a control, with chance level and p.

    Parameters
    ----------
    true : ndarray, (N,)
        Mean negative log likelihood of each true text, nats per token.
    other : ndarray, (R, N) or (N,)
        The same under R derangements, or under one other control.
    blocks : sequence, (N,)
        Block of each sample, the unit of the interval and of the sign flips.
    control : str
    seed : int
    partners : ndarray, (R, N) int64, optional
        The derangements; equal ones then count once in p.

    Returns
    -------
    Score
        Teacher-forced; ties count a half, chance is 0.5. One-sided p of the mean likelihood:
        permutation p for derangements, sign flips of whole blocks for one control.
    """
    if true.ndim != 1 or len(true) != len(blocks):
        raise InputError(
            f"pairwise_score: true and blocks must be (N,), got {true.shape} and {len(blocks)}."
        )
    result = pairwise_gathered(true, np.atleast_2d(other), partners)
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
def paired_p(differences: npt.ArrayLike, blocks: Sequence[object], *, seed: int = 0) -> float:
    """Two-sided p of a mean difference, by sign flips of whole blocks.

    Parameters
    ----------
    differences, blocks, seed
        As in :func:`block_flip_p`.
    """
    values = np.asarray(differences, dtype=np.float64)
    return min(1.0, 2 * min(block_flip_p(sign * values, blocks, seed=seed) for sign in (1, -1)))


def block_effect(differences: npt.ArrayLike, blocks: Sequence[object]) -> float | None:
    """Cohen's d_z of the mean differences of blocks; None if undefined.

    Parameters
    ----------
    differences : array_like, (N,)
        Larger is better.
    blocks : sequence, (N,)

    Returns
    -------
    float or None
        None for a single block, or if all blocks have the same mean difference.
    """
    labels = np.unique([str(b) for b in blocks], return_inverse=True)[1]
    values = np.asarray(differences, dtype=np.float64)
    means = np.bincount(labels, weights=values) / np.bincount(labels)
    if len(means) < 2 or np.ptp(means) <= 1e-12 * np.abs(means).max():
        return None
    return effect_size(means)
