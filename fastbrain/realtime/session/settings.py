"""Settings of a live session, and how one ended."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..._arguments import checked
from ...errors import InputError


@checked(least={"expected": 1, "queue": 1})
@dataclass(frozen=True)
class Settings:
    """Settings of a session.

    Parameters
    ----------
    tr_s : float, optional
        Repetition time in seconds; default: that of the source.
    deadline_s : float, optional
        From a complete volume to its text; default: one TR.
    idle_timeout_s : float, optional
        Silence of the source after which the session ends.
    expected : int, optional
        Number of volumes of the run, if it is known: the session ends when each of them has its
        record. Where the source ends before or is silent for too long, the others are dropped.
    queue : int
        Largest number of volumes that wait for preprocessing.
    waits : bool
        Whether to wait for ``Control.start``.
    numbered : bool
        Whether a source that is opened again goes on with its numbers. If not, those of a
        continued log go on from its last record.
    """

    tr_s: float | None = None
    deadline_s: float | None = None
    idle_timeout_s: float | None = None
    expected: int | None = None
    queue: int = 16
    waits: bool = False
    numbered: bool = True

    def __post_init__(self) -> None:
        for name in ("tr_s", "deadline_s", "idle_timeout_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(
                    f"Settings: {name} must be positive seconds, got {value}. Correct it."
                )


@dataclass(frozen=True)
class Ending:
    """How a session ended.

    Parameters
    ----------
    reason : str
        ``"source ended"``, ``"complete"`` (as many records as volumes were expected), ``"idle"``,
        ``"stopped"``, the name of a signal, or ``"failed"``.
    counters : dict of int
    message : str
        What failed, "" otherwise.
    """

    reason: str
    counters: dict[str, int]
    message: str = ""
