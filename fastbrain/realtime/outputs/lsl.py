"""Lab Streaming Layer: decoded text as a marker stream, and markers of other programs as marks.

Needs the package pylsl (``pip install 'fastbrain-fmri[lsl]'``).
"""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Callable
from typing import Any

from ..._arguments import checked
from ...errors import FastbrainError, MissingPartError
from ..session.events import Event

_KINDS = ("word", "text", "record")
_RESOLVE_S = 1.0
_PULL_S = 0.2


class LslOutlet:
    """Sends events as strings of JSON on a marker stream of irregular rate.

    Parameters
    ----------
    name : str
        Name of the stream.

    Raises
    ------
    MissingPartError
        pylsl or its native library is not installed.
    """

    @checked
    def __init__(self, name: str = "fastbrain") -> None:
        lsl = _pylsl()
        self.dropped = 0
        info = lsl.StreamInfo(name, "Markers", 1, lsl.IRREGULAR_RATE, "string", f"{name}-live")
        self._outlet: Any = lsl.StreamOutlet(info)

    def write(self, event: Event) -> None:
        """Send a first word, a text or a record; other events are left out."""
        if event["type"] in _KINDS:
            self._outlet.push_sample([json.dumps(event, ensure_ascii=False)])

    def close(self) -> None:
        """End the stream."""
        self._outlet = None


class LslMarkers:
    """Reads a marker stream and passes its samples on as labels.

    Parameters
    ----------
    name : str
        Name of the stream; it may begin later.
    mark : callable
        Receives each label; one that it refuses is counted.

    Raises
    ------
    MissingPartError
        pylsl or its native library is not installed.
    """

    @checked
    def __init__(self, name: str, mark: Callable[[str], None]) -> None:
        self.name, self.refused = name, 0
        self._lsl, self._mark = _pylsl(), mark
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lsl", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading; may be called twice."""
        self._closing.set()
        self._thread.join(2 * _PULL_S)

    def _run(self) -> None:
        inlet: Any = None
        while not self._closing.is_set():
            if inlet is None:
                found = self._lsl.resolve_byprop("name", self.name, 1, _RESOLVE_S)
                inlet = self._lsl.StreamInlet(found[0], max_buflen=60) if found else None
                continue
            sample, _ = inlet.pull_sample(timeout=_PULL_S)
            if sample:
                self._pass(str(sample[0]))

    def _pass(self, label: str) -> None:
        try:
            self._mark(label)
        except FastbrainError:
            self.refused += 1


def _pylsl() -> Any:
    try:
        return importlib.import_module("pylsl")
    except (ImportError, RuntimeError, OSError) as error:  # the package without its library
        raise MissingPartError(
            f"live: the package pylsl must be installed for LSL, got '{error}'. "
            "pip install 'fastbrain-fmri[lsl]'"
        ) from error
