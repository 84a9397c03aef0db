"""Statistics of the records of a rehearsal, in memory that is allocated at the start."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from ..session.events import Event

_TIMES = ("first_word_s", "text_s")


class Tally:
    """An output of a session that keeps status and times of each TR.

    Parameters
    ----------
    volumes : int

    Attributes
    ----------
    counts : ndarray, (N,) int64
        Number of records of each TR.
    statuses : list of str, (N,)
    missed : ndarray, (N,) bool
    failed : ndarray, (N,) bool
        Whether preprocessing or the decoder failed.
    seconds : dict of ndarray, (N,) float64
        Times by name, NaN where there is none: ``first_word_s``, ``text_s``, and each stage.
    outside : int
        Records of TRs that were not expected.
    held : dict of str to (int, str)
        Number of held TRs and the last reason, for each kind of reason, in which numbers do not
        count; the kind that was met last is the last one.
    """

    def __init__(self, volumes: int) -> None:
        self.dropped = self.outside = 0
        self.volumes = volumes
        self.counts = np.zeros(volumes, dtype=np.int64)
        self.statuses = [""] * volumes
        self.missed, self.failed = np.zeros((2, volumes), dtype=bool)
        self.seconds: dict[str, npt.NDArray[np.float64]] = {}
        self.held: dict[str, tuple[int, str]] = {}

    def write(self, event: Event) -> None:
        """Keep a record; other events are left out."""
        if event["type"] != "record":
            return
        index = event["index"]
        if not 0 <= index < self.volumes:
            self.outside += 1
            return
        self.counts[index] += 1
        self.statuses[index] = event["status"]
        self.missed[index] = event["missed"]
        self.failed[index] = "failed" in event["reason"]
        if event["status"] == "held":
            reason = event["reason"]
            kind = re.sub(r"\d+(\.\d+)?", "#", reason)
            count, _ = self.held.pop(kind, (0, ""))
            self.held[kind] = (count + 1, reason)
        times = {name: event[name] for name in _TIMES} | event["stages_s"]
        for name, value in times.items():
            if value is not None:
                self._column(name)[index] = value

    def close(self) -> None:
        """Do nothing."""

    def of(self, name: str) -> npt.NDArray[np.float64]:
        """Return the known times of one name, in order of the TRs."""
        values = self._column(name)
        return values[~np.isnan(values)]

    def _column(self, name: str) -> npt.NDArray[np.float64]:
        if name not in self.seconds:
            self.seconds[name] = np.full(self.volumes, np.nan)
        return self.seconds[name]
