"""What a number says of itself: its chance level, its interval, how it was made."""

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
    """One number and what it takes to believe it.

    Parameters
    ----------
    metric : str
        For instance ``"bleu1"``.
    mode : str
        How it was made. ``"teacher-forced"``: the model saw the true text before each token.
        ``"reference-length"``: the decoded text was cut at the true one's length.
    value : float
    n : int
        Samples behind it.
    chance : float, optional
        Mean of the same score under `control`.
    control : str
        What `chance` and `p` come from, for instance ``"deranged brain"``.
    p : float, optional
        One-sided; the better side was stated before seeing the data.
    interval : Interval, optional
    signature : str
        Library, version and options.
    group : str
        Part of the samples, for instance ``"subject 03"``; empty for all of them.
    adjusted : float, optional
        p after Benjamini-Hochberg over the family of scores it was reported with.
    effect : float, optional
        Cohen's d_z towards the better side: mean of the paired differences from `control` over
        their standard deviation, of whole blocks or people.
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
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Score:
        """Inverse of :meth:`to_json`.

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
    """The scores as one family: each p with its Benjamini-Hochberg adjustment beside it.

    Parameters
    ----------
    scores : sequence of Score
        Those without a p stay as they are.
    """
    tested = {i: score.p for i, score in enumerate(scores) if score.p is not None}
    if not tested:
        return tuple(scores)
    found = dict(zip(tested, adjusted_p([*tested.values()]).tolist(), strict=True))
    return tuple(
        replace(score, adjusted=found[i]) if i in found else score for i, score in enumerate(scores)
    )
