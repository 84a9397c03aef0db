"""A live session: source, preprocessing, decoder and outputs, from the first volume to the end.

Three threads: one reads the source, one preprocesses and decodes, one writes. The thread that
calls :meth:`Session.run` watches the clock.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

from ..._progress import say
from ..volume import BadVolume, Clock, MonotonicClock, Source, Volume
from .events import Control, Event, Publisher
from .intake import Intake, Job
from .queues import BoundedQueue
from .records import STATUSES, Outcome, Record, rounded
from .settings import Ending, Settings
from .watchdog import State
from .window_decoder import WindowDecoder, as_reason
from .worker import Preprocessor, Worker
from .writer import Sink, Writer

_POLL_S = 0.02
_JOIN_S = 0.25  # for each thread at the end: SIGTERM is clean within a second
_MEAN = 0.2  # weight of the newest decoding in the running mean of their durations


class Session:
    """Real-time decoding of one run.

    Parameters
    ----------
    source : Source
    preprocessor : Preprocessor
    decoder : WindowDecoder, optional
        Without it, volumes are only measured.
    settings : Settings
    sinks : sequence of Sink
    first : int
        Number of the first expected TR; above 0 where a log is continued.
    open_before : sequence of int
        Earlier TRs without a record in that log.
    clock : Clock
        Monotonic; the time of day is never read.

    Attributes
    ----------
    publisher : Publisher
    control : Control
    """

    def __init__(
        self,
        source: Source,
        preprocessor: Preprocessor,
        decoder: WindowDecoder | None = None,
        *,
        settings: Settings = Settings(),  # noqa: B008 - frozen
        sinks: Sequence[Sink] = (),
        first: int = 0,
        open_before: Sequence[int] = (),
        clock: Clock | None = None,
    ) -> None:
        self.source, self.decodes, self.settings = source, decoder is not None, settings
        self.clock: Clock = MonotonicClock() if clock is None else clock
        self.publisher = Publisher()
        self._begin, self._end = threading.Event(), threading.Event()
        self.control = Control(self._begin.set, lambda: self.stop("stopped"), self._mark)
        self._origin = self.clock.now()
        self._intake = Intake(
            source,
            settings,
            decodes=self.decodes,
            first=first,
            open_before=tuple(open_before),
            origin_s=self._origin,
        )
        self._ledger, self._watch = self._intake.ledger, self._intake.watch
        self._worker = Worker(
            preprocessor, decoder, clock=self.clock, publish=self._publish, previews=self.publisher
        )
        self._writer = Writer(sinks)
        self._queue: BoundedQueue[Job] = BoundedQueue(settings.queue)
        self._lock = threading.RLock()
        self._read_all = False
        self._usual_s = 0.0
        self._state: State = "ready"
        self._state_s = -math.inf
        self._reason = self._message = ""

    def run(self, *, threads: bool = True) -> Ending:
        """Run until the source ends, is idle for too long, or the session is stopped.

        Parameters
        ----------
        threads : bool
            Whether to read, work and write at the same time. Without threads the clock may be one
            that only moves when it is slept on.
        """
        self._worker.warm_up(self._end if threads else None)
        if self.settings.waits:
            self._show_state("ready")
            while not self._begin.is_set() and not self._end.is_set():
                self.clock.sleep(_POLL_S)
        self._watch.start(self.clock.now())
        self._show_state("waiting")
        try:
            (self._in_threads if threads else self._in_turn)()
        except Exception as error:
            self._fail(as_reason(error))
        finally:
            self._finish()
        return Ending(self._reason, self.counters(), self._message)

    def stop(self, reason: str) -> None:
        """End the session; the first reason counts. May be called from a signal handler."""
        if not self._end.is_set():
            self._reason = self._reason or reason
            self._worker.stopping = True
            self._end.set()

    def add_sink(self, sink: Sink) -> None:
        """Add an output before the session runs, for example one that sends marks back."""
        self._writer.sinks = (*self._writer.sinks, sink)

    def counters(self) -> dict[str, int]:
        """Return the numbers of volumes, records by status, misses and everything dropped."""
        counts = self._ledger.counts
        names = ("records", *STATUSES, "missed", "strays")
        return {
            "volumes": self._intake.volumes,
            **{name: counts[name] for name in names},
            "queue_dropped": self._queue.dropped,
            "unwritten": self._writer.unwritten,
            "output_dropped": self._writer.dropped,
        }

    def _in_threads(self) -> None:
        reader = threading.Thread(target=self._read, name="reader", daemon=True)
        worker = threading.Thread(target=self._work, name="worker", daemon=True)
        self._writer.start()
        reader.start()
        worker.start()
        while not self._end.is_set():
            self._tick()
            self.clock.sleep(min(_POLL_S, 0.05 * (self._intake.tr_s or 1.0)))
        self.source.close()
        self._queue.close()
        reader.join(_JOIN_S)
        worker.join(_JOIN_S)

    def _in_turn(self) -> None:
        for item in self.source:
            if self._end.is_set():
                break
            self._receive(item, waits=False)
            full = len(self._queue) >= self.settings.queue and not self._intake.caught_up
            if item is None or full:
                self._work_once(0.0)
            self._tick()
        while not self._end.is_set() and self._work_once(0.0):
            self._tick()
        self.stop("source ended")
        self.source.close()

    def _read(self) -> None:
        try:
            for item in self.source:
                if self._end.is_set():
                    return
                self._receive(item, waits=True)
            self._read_all = True
        except Exception as error:
            self._fail(f"the source failed: {as_reason(error)}")

    def _work(self) -> None:
        while not self._end.is_set():
            self._work_once(_POLL_S)

    def _receive(self, item: Volume | BadVolume | None, *, waits: bool) -> None:
        now = self.clock.now()
        with self._lock:
            unknown = self._intake.tr_s is None
            job = self._intake.take(item, now)
            records = [] if item is None else self._ledger.close_due(now)
        if unknown and self._intake.tr_s is not None:
            self._publish({"type": "tr", "tr_s": self._intake.tr_s})
        self._close(records)
        if job is None:
            return
        # what is already there is not dropped: the source waits
        while waits and job.backlog and not self._end.is_set():
            if self._queue.put_waiting(job, _POLL_S):
                return
        if (dropped := self._queue.put(job)) is not None and not dropped.recorded:
            reason = "skipped: too many volumes were waiting"
            self._finished(dropped, Outcome(now, reason=reason, skipped=True))

    def _work_once(self, timeout: float) -> bool:
        job = self._queue.get(timeout)
        if job is None:
            return False
        try:
            limit = self._ledger.limits.deadline_s
            begun = self.clock.now()
            hopeless = begun + self._usual_s >= job.volume.completed_s + limit
            skip = job.recorded or (self._newer() and hopeless and not job.backlog)
            outcome = self._worker.work(
                job.volume, decode=not skip, deadline_s=limit, hurries=self._newer
            )
            if outcome.text is not None:
                took = self.clock.now() - begun
                self._usual_s += _MEAN * (took - self._usual_s) if self._usual_s else took
            if not job.recorded:
                self._finished(job, outcome)
        except Exception as error:  # a defect of ours must not end a session
            reason = f"failed: {as_reason(error)}"
            self._finished(job, Outcome(self.clock.now(), reason=reason))
        return True

    def _newer(self) -> bool:
        return len(self._queue) > 0

    def _finished(self, job: Job, outcome: Outcome) -> None:
        with self._lock:
            self._ledger.finished(job.volume.index, outcome)
            records = self._ledger.close_due(self.clock.now())
        self._close(records)

    def _tick(self) -> None:
        now = self.clock.now()
        with self._lock:
            state = self._watch.check(now)
            records = self._ledger.close_due(now)
            ended = self._read_all and not self._ledger.awaits_results
            complete = self._intake.complete
        self._close(records)
        if state != self._state or now - self._state_s >= (self._intake.tr_s or 1.0):
            self._show_state(state)
        if ended or complete:
            self.stop("source ended" if ended else "complete")
        elif self._watch.idle(now):
            self.stop("idle")

    def _finish(self) -> None:
        self.stop("failed")
        self._worker.stopping = True
        now = self.clock.now()
        with self._lock:
            silent = self._reason == "idle" and self._intake.volumes > 0
            over = silent or self._reason == "source ended"
            expected = self.settings.expected if over else None
            records = self._ledger.close_all(now, expected=expected)
        self._close(records)
        self._show_state("stopped")
        ending = {"type": "end", "reason": self._reason, "tr_s": self._intake.tr_s}
        self._writer.put({**ending, "counters": self.counters()})
        self._writer.close(_JOIN_S)
        self.publisher.close()

    def _fail(self, message: str) -> None:
        self._message = message
        say(f"live: {message}")
        self.stop("failed")

    def _mark(self, label: str) -> None:
        self._publish({"type": "mark", "index": self._ledger.highest, "label": label})

    def _close(self, records: Sequence[Record]) -> None:
        for record in records:
            self._publish(record.to_json(text=True))

    def _publish(self, event: Event) -> None:
        """Give an event its time, and hand it to subscribers and outputs."""
        kind, at = event["type"], rounded(self.clock.now() - self._origin)
        timed: dict[str, Any] = {"type": kind, "at_s": at, **event}
        self.publisher.publish(timed)
        if kind not in ("volume", "latency", "state"):
            self._writer.put(timed)

    def _show_state(self, state: State) -> None:
        now = self.clock.now()
        self._state, self._state_s = state, now
        deadline = self._ledger.limits.deadline_s
        self._publish(
            {
                "type": "state",
                "state": state,
                "reason": self._reason,
                "tr_s": self._intake.tr_s,
                "deadline_s": rounded(deadline),
                "silence_s": rounded(self._watch.silence(now)) if state != "ready" else None,
                "counters": self.counters(),
                "source": self.source.name,
                "monitor": not self.decodes,
            }
        )
