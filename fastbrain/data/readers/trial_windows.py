"""Windows of trials: position of a window in its run, from the onset of its stimulus.

The window of a trial starts with the volume that begins nearest to onset + onset_offset + delay (of
two equally near ones the later), so that it covers the hemodynamic response, and is `window_trs`
volumes long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..._arguments import checked
from ...errors import CohortError, InputError
from .runs_table import RunRecord
from .tables import Row, seconds_of
from .timing import nearest_volume, volumes_to_cover

_UNEVEN = 0.05  # volumes; lags in rounded seconds


@checked
@dataclass(frozen=True)
class WindowSpec:
    """Position and length of the windows of trials in their run.

    Parameters
    ----------
    delay_s : float
        Seconds from stimulus onset to the first volume: the hemodynamic delay. It may be negative,
        as a control: activity before the stimulus contains no response to it.
    window_trs : int
        Volumes in a window.
    onset_offset_s : float
        Added to every onset, for events on a clock that did not start with the first volume
        (12 s in HAD, ds004488).
    """

    delay_s: float
    window_trs: int
    onset_offset_s: float = 0.0

    def __post_init__(self) -> None:
        if self.window_trs < 1:
            raise InputError(f"WindowSpec: window_trs must be >= 1, got {self.window_trs}.")
        for name in ("delay_s", "onset_offset_s"):
            if not math.isfinite(getattr(self, name)):
                raise InputError(f"WindowSpec: {name} must be finite, got {getattr(self, name)}.")

    @classmethod
    def of_lags(
        cls, lags_s: Sequence[float], *, tr: float, onset_offset_s: float = 0.0
    ) -> WindowSpec:
        """Return the window of the volumes at given lags after onset.

        The tokenizer of a model has a weight for each volume of a window, so that consecutive lags
        are a finite impulse response, learned from the data instead of an assumed response shape.

        Parameters
        ----------
        lags_s : sequence of float
            Seconds after onset, ascending, one repetition time apart.
        tr : float
            Seconds between volumes.
        onset_offset_s : float

        Raises
        ------
        InputError
            There is no lag, or lags are not consecutive volumes.
        """
        lags = [float(lag) for lag in lags_s]
        even = all(abs(lag - lags[0] - i * tr) <= _UNEVEN * tr for i, lag in enumerate(lags))
        if not lags or not even or not tr > 0:
            raise InputError(
                f"WindowSpec.of_lags: lags_s must be one repetition time, {tr:g} s, apart and "
                f"ascending, got {tuple(lags)}. List every volume from the first lag to the last."
            )
        return cls(lags[0], len(lags), onset_offset_s)

    def start(self, onset: float, *, tr: float, start_time: float = 0.0) -> int:
        """Return the index of the first volume of a window.

        Parameters
        ----------
        onset : float
            Seconds, as in the events file.
        tr : float
            Seconds between volumes.
        start_time : float
            Acquisition time of the first volume on the clock of the events, seconds.

        Raises
        ------
        InputError
            A time is not finite or `tr` is not positive.
        """
        return nearest_volume(onset + self.onset_offset_s + self.delay_s - start_time, tr)

    def guard_trs(self, tr: float) -> int:
        """Return the volumes required between windows of different parts: window + delay."""
        return self.window_trs + max(0, volumes_to_cover(self.delay_s, tr))


@dataclass(frozen=True)
class Timing:
    """Timing of a trial: `onset` and `duration` in seconds, first volume `start` of its window."""

    onset: float
    duration: float
    start: int


class LateWindowError(CohortError):
    """The window of a trial leaves its run."""


def read_timing(
    run: RunRecord, row: Row, window: WindowSpec, *, where: str, tr: float, n_volumes: int
) -> Timing:
    """Read onset and duration of an events row and place its window.

    Parameters
    ----------
    run : RunRecord
        The run that the events belong to.
    row : Row
    window : WindowSpec
    where : str
        File, line and trial, for messages.
    tr : float
        Seconds between volumes.
    n_volumes : int
        Length of the run.

    Raises
    ------
    CohortError
        The onset is not a number, the window leaves the run, or the duration exceeds the run.
    """
    onset = seconds_of(row["onset"], where=f"{where} onset")
    if onset is None:
        raise CohortError(f"read_trials: {where} must have an onset, got '{row['onset']}'.")
    duration = seconds_of(row["duration"], where=f"{where} duration") or 0.0
    if duration < 0:
        raise CohortError(f"read_trials: {where} duration must be >= 0 s, got {duration}.")
    try:
        start = window.start(onset, tr=tr, start_time=run.start_time)
    except InputError as error:
        raise CohortError(f"read_trials: {where} must have a usable onset: {error}") from error
    if start < 0 or start + window.window_trs > n_volumes:
        raise LateWindowError(
            f"read_trials: {where} must have its window inside the run's {n_volumes} volumes, got "
            f"{start:.10g}..{start + window.window_trs:.10g} (onset {onset:g} s). Check tr, delay "
            "and onset_offset, take the row out, or drop such trials (--late drop)."
        )
    if duration > n_volumes * tr:
        raise CohortError(
            f"read_trials: {where} duration must be at most the run's {n_volumes * tr:g} s, got "
            f"{duration:g}. Durations are in seconds: is it milliseconds?"
        )
    return Timing(onset, duration, start)
