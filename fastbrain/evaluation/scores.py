"""A score with its chance level, p-value, interval and computation mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from .._arguments import checked
from ..errors import InputError
from ..stats.inference import Interval, adjusted_p

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
