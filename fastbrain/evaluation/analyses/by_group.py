"""Scores by session and by properties of people, and whether they differ between the groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...data.readers.events import Trial
from ...errors import InputError
from ...stats.inference import permutation_p
from ..controls.conditions import DERANGED, TRUE, Conditions, pairwise_score
from ..metrics.registry import TEXT_METRICS
from ..scores import Score
from .against_controls import texts_against_deranged

METRICS = ("pairwise", "bleu1", "rougeL_f")
_PERMUTATIONS = 10_000


@checked
@dataclass(frozen=True)
class Grouping:
    """One way to divide the samples of an evaluation into groups.

    Parameters
    ----------
    name : str
        For instance ``"session"`` or ``"sex"``. ``"subject"`` is refused: single
        subjects are scored anyway.
    labels : tuple of str, (N,)
        Group of each sample; samples with "" are in none.
    units : tuple of str, (N,)
        Run or subject of each sample: the unit that has one label as a whole.
    within : tuple of str, (N,)
        Labels are exchangeable between units with the same value only.
    """

    name: str
    labels: tuple[str, ...]
    units: tuple[str, ...]
    within: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.name in ("", "subject"):
            raise InputError(
                f"Grouping: name must not be '{self.name}'. Every evaluation has the scores of "
                "single subjects; choose another column."
            )
        sizes = {len(self.labels), len(self.units), len(self.within)}
        if len(sizes) > 1 or not any(self.labels):
            raise InputError(
                f"Grouping: labels, units and within of {self.name} must be (N,) with a label, got "
                f"{len(self.labels)}, {len(self.units)} and {len(self.within)}."
            )


def sessions_of(trials: Sequence[Trial]) -> list[Grouping]:
    """Group trials by session; none if there are fewer than two sessions."""
    labels = tuple(t.session for t in trials)
    if len({*labels} - {""}) < 2:
        return []
    runs, people = (tuple(getattr(t, name) for t in trials) for name in ("run_id", "subject"))
    return [Grouping("session", labels, runs, people)]


@checked
def scores_by_group(conditions: Conditions, grouping: Grouping, *, seed: int = 0) -> list[Score]:
    """Score every group of a grouping against deranged brains.

    Parameters
    ----------
    conditions : Conditions
        Of the same samples in the same order.
    grouping : Grouping
    seed : int

    Returns
    -------
    list of Score
        Pairwise accuracy (teacher-forced), BLEU-1 and ROUGE-L where the decoder has likelihoods
        and texts; ``group="session 01"``.

    Raises
    ------
    InputError
        The numbers of samples differ.
    """
    if len(grouping.labels) != len(conditions.truth):
        raise InputError(
            f"scores_by_group: grouping must be of the {len(conditions.truth)} samples, got "
            f"{len(grouping.labels)} labels of {grouping.name}."
        )
    true, deranged = conditions[TRUE].nll, conditions[DERANGED].nll
    said, blocks = conditions[TRUE].texts, conditions.blocks
    metrics = [m for m in TEXT_METRICS if m.name in METRICS]
    found: list[Score] = []
    for label in sorted({*grouping.labels} - {""}):
        rows = np.flatnonzero([own == label for own in grouping.labels])
        group = f"{grouping.name} {label}"
        if true is not None and deranged is not None:
            score = pairwise_score(
                true[rows],
                deranged[:, rows],
                blocks=[blocks[i] for i in rows],
                seed=seed,
                partners=conditions.partners[:, rows],
            )
            found.append(replace(score, group=group))
        if said is not None:
            scored = texts_against_deranged(said, conditions, rows=rows, metrics=metrics, seed=seed)
            found += [replace(result.score, group=group) for result in scored.values()]
    return found


@checked
def group_difference_p(
    values: npt.NDArray[np.float64], grouping: Grouping, *, seed: int = 0
) -> tuple[float | None, int]:
    """Permutation p of equal means of units in all groups.

    The statistic is the sum of squares between groups of the means of units.

    Parameters
    ----------
    values : ndarray, (N,)
        Score of each sample.
    grouping : Grouping
        Every unit must have one label.
    seed : int

    Returns
    -------
    p : float or None
        None where no permutation changes the statistic.
    n_units : int

    Raises
    ------
    InputError
        A unit has two labels, or sizes differ.
    """
    if values.shape != (len(grouping.labels),):
        raise InputError(
            f"group_difference_p: values must be ({len(grouping.labels)},), got {values.shape}."
        )
    of_unit: dict[str, list[int]] = {}
    for i, (label, unit) in enumerate(zip(grouping.labels, grouping.units, strict=True)):
        if label:
            of_unit.setdefault(unit, []).append(i)
    for unit, rows in of_unit.items():
        if len({(grouping.labels[i], grouping.within[i]) for i in rows}) > 1:
            raise InputError(
                f"group_difference_p: unit {unit} must have one label of {grouping.name}, got two."
            )
    means = np.array([values[rows].mean() for rows in of_unit.values()])
    first = [rows[0] for rows in of_unit.values()]
    _, labels = np.unique([grouping.labels[i] for i in first], return_inverse=True)
    _, strata = np.unique([grouping.within[i] for i in first], return_inverse=True)
    rng = np.random.default_rng(seed)
    order = np.argsort(strata, kind="stable")
    null = np.empty(_PERMUTATIONS)
    for k in range(_PERMUTATIONS):
        # sorting random numbers within strata permutes every stratum separately
        shuffled = np.lexsort((rng.random(len(strata)), strata))
        moved = labels.copy()
        moved[order] = labels[shuffled]
        null[k] = _between(means, moved)
    observed = _between(means, labels)
    slack = 1e-12 * max(1.0, float((means**2).sum()))  # equal sums in another order
    if np.ptp(null) <= slack and abs(null[0] - observed) <= slack:
        return None, len(means)
    return permutation_p(observed - slack, null), len(means)


def _between(means: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    counts = np.bincount(labels)
    own = np.bincount(labels, weights=means) / counts
    return float((counts * (own - means.mean()) ** 2).sum())
