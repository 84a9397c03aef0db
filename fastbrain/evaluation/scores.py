"""A score with its chance level, p-value, interval and computation mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from .._arguments import checked
from ..errors import InputError
from ..stats.derangements import distinct_rows
from ..stats.inference import Interval, adjusted_p, bootstrap_interval, permutation_p

Mode = Literal["free-running", "reference-length", "teacher-forced", "retrieval", "prediction"]


@checked
@dataclass(frozen=True)
class Score:
    """One score with its chance level, p-value, interval and origin.

    Parameters
    ----------
    metric : str
        For instance ``"bleu1"``.
    mode : str
        How it was computed. ``"teacher-forced"``: the model read the true text before each token.
        ``"reference-length"``: the decoded text was cut to the length of the true text.
    value : float
    n : int
        Number of samples.
    chance : float, optional
        Mean of the same score under `control`.
    control : str
        Control condition of `chance` and `p`, for instance ``"deranged brain"``.
    p : float, optional
        One-sided; the better direction is fixed before seeing the data.
    interval : Interval, optional
    signature : str
        Library, version and options.
    group : str
        Subset of the samples, for instance ``"subject 03"``; empty for all samples.
    adjusted : float, optional
        p after Benjamini-Hochberg over the family of scores reported together.
    effect : float, optional
        Cohen's d_z, positive in the better direction: mean of the paired differences from
        `control`, divided by their standard deviation; the unit is a block or a subject.
    """

    metric: str
    mode: Mode
    value: float
    n: int
    chance: float | None = None
    control: str = ""
    p: float | None = None
    interval: Interval | None = None
    signature: str = ""
    group: str = ""
    adjusted: float | None = None
    effect: float | None = None

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise InputError(f"Score: mode must be one of {get_args(Mode)}, got {self.mode!r}.")
        if (self.chance is not None or self.p is not None) and not self.control:
            raise InputError(f"Score: control must say where the chance of {self.metric} is from.")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    def to_row(self) -> dict[str, Any]:
        """Return value, chance, p and interval under flat keys that begin with the metric.

        Returns
        -------
        dict
            ``METRIC``, and of what is known ``METRIC_chance``, ``METRIC_p`` and ``METRIC_ci``.
        """
        beside = {
            "chance": self.chance,
            "p": self.p,
            "ci": None if self.interval is None else self.interval.as_list(),
        }
        known = {f"{self.metric}_{k}": v for k, v in beside.items() if v is not None}
        return {self.metric: self.value, **known}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Score:
        """Rebuild a score from the output of :meth:`to_json`.

        Raises
        ------
        InputError
            Keys are missing or unknown.
        """
        names = {f.name for f in fields(cls)}
        if not isinstance(value, Mapping) or set(value) != names:
            got = sorted(value) if isinstance(value, Mapping) else type(value).__name__
            raise InputError(f"Score.from_json: keys must be {sorted(names)}, got {got}.")
        interval = value["interval"]
        try:
            found = None if interval is None else Interval(**interval)
            return cls(**{**value, "interval": found})
        except TypeError as error:
            raise InputError(
                f"Score.from_json: interval must have low, high and level, got {interval!r:.80}."
            ) from error


@checked
def score_beside_null(
    metric: str,
    values: npt.ArrayLike,
    null: npt.ArrayLike,
    *,
    mode: Mode,
    control: str,
    blocks: Sequence[object] | None = None,
    partners: npt.NDArray[np.int64] | None = None,
    seed: int = 0,
    signature: str = "",
) -> Score:
    """Score a mean over samples beside the means that a control gives.

    Parameters
    ----------
    metric : str
    values : array_like, (N,)
        One value for each sample; larger is better.
    null : array_like, (R,)
        Mean under each of R permutations, derangements or shifts. Where the folds of a
        cross-validation train on each other's test samples, each of them must be fitted anew: see
        :func:`retrieval_scores`.
    mode : str
        See :class:`Score`.
    control : str
        What was permuted, for instance ``"deranged brain"``.
    blocks : sequence, (N,), optional
        Block of each sample, the unit of the interval; default: each sample is its own.
    partners : ndarray, (R, N) int64, optional
        The derangements behind `null`; equal ones then count once in p.
    seed : int
        Of the interval.
    signature : str

    Returns
    -------
    Score
        Chance is the mean of `null`; p is that of :func:`fastbrain.stats.permutation_p`; the
        interval is that of :func:`fastbrain.stats.bootstrap_interval`, and None for one block.

    Raises
    ------
    InputError
        A value is not finite, there is none, or sizes differ.
    """
    each, drawn = np.asarray(values, dtype=np.float64), np.asarray(null, dtype=np.float64)
    if drawn.ndim != 1 or not drawn.size or (partners is not None and len(partners) != len(drawn)):
        raise InputError(
            "score_beside_null: null must be (R >= 1,) with one mean for each of the partners, got "
            f"shape {drawn.shape}" + ("." if partners is None else f" and {len(partners)}.")
        )
    interval = bootstrap_interval(each, blocks=blocks, seed=seed)
    value = float(each.mean())
    different = drawn if partners is None else drawn[distinct_rows(partners)]
    return Score(
        metric,
        mode,
        value,
        n=len(each),
        chance=float(drawn.mean()),
        control=control,
        p=permutation_p(value, different),
        interval=interval,
        signature=signature,
    )


@checked
def with_adjusted(scores: Sequence[Score]) -> tuple[Score, ...]:
    """Add Benjamini-Hochberg adjusted p-values, treating all scores as one family.

    Parameters
    ----------
    scores : sequence of Score
        Scores without a p are returned unchanged.
    """
    tested = {i: score.p for i, score in enumerate(scores) if score.p is not None}
    if not tested:
        return tuple(scores)
    found = dict(zip(tested, adjusted_p([*tested.values()]).tolist(), strict=True))
    return tuple(
        replace(score, adjusted=found[i]) if i in found else score for i, score in enumerate(scores)
    )


def only_score(scores: Sequence[Score], metric: str, *, where: str) -> Score:
    """Return the score of a metric.

    Raises
    ------
    InputError
        There is none.
    """
    for score in scores:
        if score.metric == metric:
            return score
    raise InputError(
        f"{where}.score: metric must be one of {[s.metric for s in scores]}, got {metric!r}."
    )
