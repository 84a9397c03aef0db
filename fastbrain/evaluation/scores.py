"""What a number says of itself: its chance level, its interval, how it was made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ..errors import InputError
from .stats import Interval

Mode = Literal["free-running", "reference-length", "teacher-forced", "retrieval", "prediction"]


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

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise InputError(f"Score: mode must be one of {get_args(Mode)}, got {self.mode!r}.")
        if (self.chance is not None or self.p is not None) and not self.control:
            raise InputError(f"Score: control must say where the chance of {self.metric} is from.")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)
