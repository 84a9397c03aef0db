"""A recorded run, volume by volume at the pace of its scanner or faster."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...data.readers.volumes import Volumes, load_volumes
from ..volume import BadVolume, Clock, Volume


class ReplaySource:
    """Volumes of a 4-D NIfTI image.

    The first one is complete when iteration starts. `completed_s` of a volume is when the scanner
    would have completed it, also if the caller comes later.

    Parameters
    ----------
    path : Path
    tr_s : float or None
        Repetition time, seconds; None takes that of the header.
    clock : Clock
    poll_s : float
        Longest time without a yield, seconds.
    speed : float
        Times as fast as the scanner; infinity: as fast as the caller takes the volumes.
    """

    def __init__(
        self, path: Path, *, tr_s: float | None, clock: Clock, poll_s: float, speed: float
    ) -> None:
        self.name = "replay"
        self._volumes: Volumes = load_volumes(path, tr=tr_s)
        self.tr_s: float | None = self._volumes.tr
        self._clock, self._poll_s = clock, poll_s
        self._pace_s = 0.0 if math.isinf(speed) else self._volumes.tr / speed
        self._next = 0
        self._start: float | None = None
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Volume | BadVolume | None]:
        """Yield the volumes when they are due, and None while none is."""
        if self._start is None:
            self._start = self._clock.now()
        while self._next < self._volumes.shape[0] and not self._closed.is_set():
            due = self._start + self._next * self._pace_s
            left = due - self._clock.now()
            if left > 0:
                self._clock.sleep(min(left, self._poll_s))
                if self._clock.now() < due:
                    yield None
                continue
            index, self._next = self._next, self._next + 1
            yield self._volume(index, due if self._pace_s else self._clock.now())

    def _volume(self, index: int, completed_s: float) -> Volume:
        stored = self._volumes
        plain = stored.slope == 1 and stored.inter == 0 and stored.dtype.newbyteorder("=") == "i2"
        read = stored.raw if plain else stored.scaled
        return Volume(
            index=index,
            # a copy: the file may change, and a view would keep the whole run
            data=np.array(read(index, index + 1)[0], order="C"),
            affine=stored.affine,
            acquired_s=index * stored.tr,
            completed_s=completed_s,
            tr_s=stored.tr,
        )

    def close(self) -> None:
        """End the run."""
        self._closed.set()
