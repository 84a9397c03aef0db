"""Work on one volume: preprocessing, decoding, and the time of each stage."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..volume import Clock, Volume
from .events import Publisher, preview
from .records import Measured, Outcome, rounded
from .window_decoder import Decoded, Stopped, Window, WindowDecoder, as_reason

_POLL_S = 0.02
_PERCENTILES = (1, 99)  # of the first volume: black and white of the previews


class Preprocessed(Protocol):
    """What preprocessing gives for one volume; see :mod:`fastbrain.realtime.preprocess`."""

    window: Window | None
    held: str | None
    motion: npt.NDArray[np.float64] | None
    displacement_mm: float | None
    tsnr: float | None
    spike: bool
    stages_s: Mapping[str, float]


class Preprocessor(Protocol):
    """Incremental preprocessing of the volumes of one run."""

    def push(self, volume: Volume) -> Preprocessed:
        """Take the next volume."""


class Worker:
    """Processes one volume at a time.

    Parameters
    ----------
    preprocessor : Preprocessor
    decoder : WindowDecoder, optional
        Without it, volumes are only measured.
    clock : Clock
    publisher : callable
        Receives the events ``volume``, ``word``, ``text``, ``control`` and ``latency``.
    previews : Publisher
        Asked whether anyone wants previews.
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        decoder: WindowDecoder | None,
        *,
        clock: Clock,
        publish: Callable[[dict[str, Any]], None],
        previews: Publisher,
    ) -> None:
        self.preprocessor, self.decoder = preprocessor, decoder
        self.clock, self.publish, self.previews = clock, publish, previews
        self.stopping = False
        self._range: tuple[float, float] | None = None

    def warm_up(self, ended: threading.Event | None = None) -> None:
        """Decode an empty window, so that the first real one is not late.

        Parameters
        ----------
        ended : Event, optional
            Ends the wait for it: a first decoding may take many seconds.
        """
        if self.decoder is None:
            return
        if ended is None:
            self.decoder.warm_up()
            return
        failed: list[Exception] = []
        decoder = self.decoder

        def warm() -> None:
            try:
                decoder.warm_up()
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=warm, name="warm-up", daemon=True)
        thread.start()
        while thread.is_alive() and not ended.is_set():
            thread.join(_POLL_S)
        if failed:
            raise failed[0]

    def work(
        self,
        volume: Volume,
        *,
        decode: bool,
        deadline_s: float,
        hurries: Callable[[], bool],
    ) -> Outcome:
        """Preprocess a volume and decode its window; failures become the reason of the outcome.

        Parameters
        ----------
        volume : Volume
        decode : bool
            Whether to decode the window.
        deadline_s : float
            Seconds from the complete volume.
        hurries : callable
            Whether to leave out what follows a text, because a newer volume waits.
        """
        begun = self.clock.now()
        stages = {"queue": begun - volume.completed_s}
        try:
            found = self.preprocessor.push(volume)
        except Exception as error:
            return Outcome(self.clock.now(), reason=f"preprocessing failed: {as_reason(error)}")
        stages.update(found.stages_s)
        measured = Measured(
            motion=None if found.motion is None else tuple(map(float, found.motion)),
            displacement_mm=_number(found.displacement_mm),
            tsnr=_number(found.tsnr),
            spike=bool(found.spike),
        )
        self._show(volume, measured, found.held or "")
        common: dict[str, Any] = {"measured": measured, "stages_s": stages}
        if self.decoder is None:
            return Outcome(self.clock.now(), reason=found.held or "", **common)
        if found.window is None or found.held:
            reason = found.held or "the window is not complete yet"
            return Outcome(self.clock.now(), reason=reason, **common)
        if not decode:
            reason = "skipped: a newer volume was waiting"
            return Outcome(self.clock.now(), reason=reason, skipped=True, **common)
        return self._decoded(found.window, volume, deadline_s, hurries, common)

    def _decoded(
        self,
        window: Window,
        volume: Volume,
        deadline_s: float,
        hurries: Callable[[], bool],
        common: dict[str, Any],
    ) -> Outcome:
        assert self.decoder is not None
        heard = _Heard(self, volume, deadline_s, hurries)
        begun = self.clock.now()
        try:
            said = self.decoder.decode(window, heard)
        except Stopped:
            return Outcome(self.clock.now(), reason="stopped before its text was there", **common)
        except Exception as error:
            reason = f"the decoder failed: {as_reason(error)}"
            if heard.done_s is None:
                return Outcome(self.clock.now(), reason=reason, **common)
            # the text was there; only its control failed
            said = Decoded(heard.text)
        done = self.clock.now() if heard.done_s is None else heard.done_s
        first = done if heard.word_s is None else heard.word_s
        common["stages_s"] |= {"first_word": first - begun, "text": done - begun}
        self.publish(
            {
                "type": "control",
                "index": volume.index,
                "confidence": rounded(said.confidence),
                "margin_no_brain": rounded(said.margin_no_brain),
                "ranked": [[phrase, rounded(margin)] for phrase, margin in said.ranked],
            }
        )
        self.publish(
            {
                "type": "latency",
                "index": volume.index,
                "deadline_s": deadline_s,
                "first_word_s": rounded(first - volume.completed_s),
                "text_s": rounded(done - volume.completed_s),
                "stages_s": {name: rounded(value) for name, value in common["stages_s"].items()},
            }
        )
        return Outcome(
            done,
            text=said.text,
            first_word_s=first,
            confidence=said.confidence,
            margin_no_brain=said.margin_no_brain,
            ranked=said.ranked,
            **common,
        )

    def _show(self, volume: Volume, measured: Measured, held: str) -> None:
        event = {"type": "volume", "index": volume.index, **measured.to_json(), "held": held}
        if self.previews.wants_previews:
            if self._range is None:
                low, high = np.percentile(np.nan_to_num(volume.data), _PERCENTILES)
                self._range = (float(low), float(high))
            event["preview"] = preview(volume.data, volume.affine, *self._range)
        self.publish(event)


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


class _Heard:
    """Times and publishes the words of one window."""

    def __init__(
        self, worker: Worker, volume: Volume, deadline_s: float, hurries: Callable[[], bool]
    ) -> None:
        self.worker, self.volume, self.deadline_s, self.hurries = (
            worker,
            volume,
            deadline_s,
            hurries,
        )
        self.word_s: float | None = None
        self.done_s: float | None = None
        self.text = ""

    def word(self, text: str) -> None:
        self.word_s = self.worker.clock.now()
        latency = self.word_s - self.volume.completed_s
        self._publish("word", text, latency)

    def sentence(self, text: str) -> None:
        self.done_s, self.text = self.worker.clock.now(), text
        latency = self.done_s - self.volume.completed_s
        first = None if self.word_s is None else rounded(self.word_s - self.volume.completed_s)
        missed = latency > self.deadline_s
        self._publish("text", text, latency, first_word_s=first, missed=missed)

    def stops(self) -> bool:
        return self.worker.stopping

    def _publish(self, kind: str, text: str, latency: float, **more: Any) -> None:
        event = {"type": kind, "index": self.volume.index, "text": text}
        self.worker.publish({**event, "latency_s": rounded(latency), **more})
