"""Events of a session for a page and other outputs, and the commands that they send back.

An event is a dict of JSON values with the key ``type``; times ``at_s`` are seconds since the start
of the session.

============  ===============================================================================
``volume``    index, motion, fd_mm, tsnr, spike, held; for subscribers with previews also
              ``preview``: uint8 arrays ``axial`` (A, R), ``coronal`` (S, R), ``sagittal`` (S, A)
``word``      index, text: the first word; latency_s from the complete volume
``text``      index, text: the sentence; latency_s, first_word_s, missed
``control``   index, confidence, margin_no_brain, ranked: computed after the sentence
``record``    the record of a TR with its text (:class:`fastbrain.realtime.session.Record`)
``latency``   index, deadline_s, first_word_s, text_s, stages_s
``mark``      index of the newest volume, label
``tr``        tr_s: repetition time by the first volume, where it was not known before
``state``     state, reason, tr_s, deadline_s, silence_s, counters, source, monitor
============  ===============================================================================
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import InputError
from .queues import BoundedQueue

Event = dict[str, Any]
_LONGEST_LABEL = 200
_MOST_PIXELS = 128  # of a side of a preview


class Subscription:
    """Events for one reader; the oldest are dropped where it is slow.

    Parameters
    ----------
    capacity : int
        Largest number of events that wait.
    previews : bool
        Whether events ``volume`` have their preview.
    """

    def __init__(self, capacity: int, previews: bool) -> None:
        self.previews = previews
        self._queue: BoundedQueue[Event] = BoundedQueue(capacity)

    @property
    def dropped(self) -> int:
        """Number of events that were dropped."""
        return self._queue.dropped

    @property
    def closed(self) -> bool:
        """Whether there will be no further event."""
        return self._queue.closed

    def get(self, timeout: float = 0.0) -> Event | None:
        """Return the oldest event; None if there is none within `timeout` seconds."""
        return self._queue.get(timeout)

    def close(self) -> None:
        """Take no further events."""
        self._queue.close()

    def _put(self, event: Event) -> None:
        self._queue.put(event)


class Publisher:
    """Hands each event to all subscribers; it never waits for one."""

    def __init__(self) -> None:
        self._subscribers: list[Subscription] = []
        self._latest: dict[str, Event] = {}
        self._lock = threading.Lock()

    def subscribe(self, capacity: int = 256, *, previews: bool = False) -> Subscription:
        """Return a new subscription; its first event is the newest ``state``, if there is one."""
        made = Subscription(capacity, previews)
        with self._lock:
            if "state" in self._latest:
                made._put(self._latest["state"])
            self._subscribers.append(made)
        return made

    def publish(self, event: Event) -> None:
        """Hand an event to all subscribers."""
        plain = {name: value for name, value in event.items() if name != "preview"}
        with self._lock:
            self._latest[event["type"]] = plain
            self._subscribers = [one for one in self._subscribers if not one.closed]
            for subscriber in self._subscribers:
                subscriber._put(event if subscriber.previews else plain)

    def latest(self, kind: str) -> Event | None:
        """Return the newest event of a type, without preview."""
        with self._lock:
            return self._latest.get(kind)

    @property
    def wants_previews(self) -> bool:
        """Whether a subscriber has asked for previews."""
        with self._lock:
            return any(one.previews and not one.closed for one in self._subscribers)

    def close(self) -> None:
        """End all subscriptions; events that wait can still be read."""
        with self._lock:
            for subscriber in self._subscribers:
                subscriber.close()


class Control:
    """Commands to a session; every method may be called from any thread and returns at once.

    Parameters
    ----------
    start, stop : callable
    mark : callable
        Receives a label.
    """

    def __init__(
        self,
        start: Callable[[], None],
        stop: Callable[[], None],
        mark: Callable[[str], None],
    ) -> None:
        self._start, self._stop, self._mark = start, stop, mark

    def start(self) -> None:
        """Begin a session that was made to wait for it."""
        self._start()

    def stop(self) -> None:
        """End the session: close all records, write the tail of the log."""
        self._stop()

    def mark(self, label: str) -> None:
        """Note a label at the newest volume.

        Raises
        ------
        InputError
            The label is empty or longer than 200 characters.
        """
        text = " ".join(label.split()) if isinstance(label, str) else ""
        if not 0 < len(text) <= _LONGEST_LABEL or not text.isprintable():
            raise InputError(
                f"Control.mark: label must be 1 to {_LONGEST_LABEL} printable characters, got "
                f"{len(text)}. Shorten it."
            )
        self._mark(text)


def preview(
    data: npt.NDArray[Any], affine: npt.NDArray[np.float64], low: float, high: float
) -> dict[str, npt.NDArray[np.uint8]]:
    """Cut the three middle slices of a volume, at most 128 pixels a side.

    Axes and their directions are the nearest anatomical ones by the affine; nothing is resampled.

    Parameters
    ----------
    data : ndarray, (Z, Y, X)
    affine : ndarray, (4, 4)
        Voxel (x, y, z) to world mm, RAS+.
    low, high : float
        Intensities shown as 0 and 255.

    Returns
    -------
    dict
        ``"axial"`` (A, R), ``"coronal"`` (S, R) and ``"sagittal"`` (S, A), uint8, with indices that
        grow to the right (R), to the front (A) and upwards (S).
    """
    from nibabel.orientations import apply_orientation, io_orientation

    ras = apply_orientation(data.transpose(2, 1, 0), io_orientation(affine))  # (R, A, S)
    r, a, s = (size // 2 for size in ras.shape)
    slices = {"axial": ras[:, :, s].T, "coronal": ras[:, a].T, "sagittal": ras[r].T}
    span = max(high - low, 1e-12)
    made = {}
    for name, picture in slices.items():
        rows, columns = (-(-size // _MOST_PIXELS) for size in picture.shape)
        small = np.nan_to_num(picture[::rows, ::columns].astype(np.float32))
        made[name] = (np.clip((small - low) / span, 0, 1) * 255).astype(np.uint8)
    return made
