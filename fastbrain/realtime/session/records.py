"""The record of one expected TR, and the result of processing its volume."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Status = Literal["ok", "late", "dropped", "duplicate", "out_of_order", "bad_volume", "held"]
STATUSES: tuple[Status, ...] = get_args(Status)
SCHEMA = 1
_DIGITS = 6  # microseconds, micrometres


@dataclass(frozen=True)
class Measured:
    """What preprocessing measured of one volume, as plain values.

    Parameters
    ----------
    motion : tuple of 6 float, or None
        Translation in mm, then rotation in radians, against the reference volume.
    displacement_mm : float or None
        Framewise displacement in mm (Power et al. 2012, sphere of 50 mm).
    tsnr : float or None
        Running median temporal signal-to-noise ratio in the mask.
    spike : bool
    """

    motion: tuple[float, ...] | None = None
    displacement_mm: float | None = None
    tsnr: float | None = None
    spike: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the keys of a record."""
        return {
            "motion": None if self.motion is None else [rounded(v) for v in self.motion],
            "fd_mm": rounded(self.displacement_mm),
            "tsnr": rounded(self.tsnr),
            "spike": self.spike,
        }


@dataclass(frozen=True)
class Outcome:
    """Result of processing the volume of one TR.

    Parameters
    ----------
    done_s : float
        Seconds of the clock when the sentence was there, or when the volume was given up.
    text : str or None
        Decoded sentence; None if the window was not decoded.
    first_word_s : float or None
        Seconds of the clock at the first word.
    reason : str
        Why there is no new text: held by preprocessing, skipped, or an error; "" with a text.
    skipped : bool
        Whether the window was not decoded because a newer volume was waiting.
    confidence, margin_no_brain : float or None
        See :class:`fastbrain.realtime.session.Decoded`.
    ranked : tuple of (str, float)
        Phrases with their margins, best first.
    measured : Measured
    stages_s : mapping
        Seconds of each stage.
    """

    done_s: float
    text: str | None = None
    first_word_s: float | None = None
    reason: str = ""
    skipped: bool = False
    confidence: float | None = None
    margin_no_brain: float | None = None
    ranked: tuple[tuple[str, float], ...] = ()
    measured: Measured = Measured()
    stages_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """One expected TR.

    Parameters
    ----------
    index : int
        Number of the volume in its run, from 0.
    status : {"ok", "late", "dropped", "duplicate", "out_of_order", "bad_volume", "held"}
        See :class:`fastbrain.realtime.session.ledger.Ledger`.
    reason : str
        A sentence, "" for ``"ok"``.
    missed : bool
        Whether a window had to be decoded and no result was there by its deadline.
    text : str
        Text shown at this TR: its own, or the last one, which is held.
    text_of : int or None
        TR that `text` was decoded from; None if there is none yet.
    acquired_s : float or None
        Seconds since the first volume of the run, by the source's header.
    completed_s : float or None
        Seconds of the session when the volume was complete; None if it never was.
    closed_s : float
        Seconds of the session when the record was closed.
    first_word_s, text_s : float or None
        Seconds from the complete volume to the first word and to the sentence.
    backlog : bool
        Whether the volume was there before the session had caught up; it has no deadline.
    outcome : Outcome or None
    """

    index: int
    status: Status
    reason: str = ""
    missed: bool = False
    text: str = ""
    text_of: int | None = None
    acquired_s: float | None = None
    completed_s: float | None = None
    closed_s: float = 0.0
    first_word_s: float | None = None
    text_s: float | None = None
    backlog: bool = False
    outcome: Outcome | None = None

    def to_json(self, *, text: bool) -> dict[str, Any]:
        """Return plain JSON values; decoded text and phrases only with `text`."""
        done = self.outcome or Outcome(math.nan)
        row: dict[str, Any] = {
            "type": "record",
            "index": self.index,
            "status": self.status,
            "reason": self.reason,
            "missed": self.missed,
            "backlog": self.backlog,
            "acquired_s": rounded(self.acquired_s),
            "completed_s": rounded(self.completed_s),
            "closed_s": rounded(self.closed_s),
            "first_word_s": rounded(self.first_word_s),
            "text_s": rounded(self.text_s),
            "text_of": self.text_of,
            "confidence": rounded(done.confidence),
            "margin_no_brain": rounded(done.margin_no_brain),
            **done.measured.to_json(),
            "stages_s": {name: rounded(value) for name, value in done.stages_s.items()},
        }
        if text:
            row["text"] = self.text
            row["ranked"] = [[phrase, rounded(margin)] for phrase, margin in done.ranked]
        return row


def rounded(value: float | None) -> float | None:
    """Round to microseconds; None for what JSON cannot hold."""
    return None if value is None or not math.isfinite(value) else round(float(value), _DIGITS)
