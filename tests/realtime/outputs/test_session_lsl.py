"""Lab Streaming Layer, with a stand-in for the package where it is not installed."""

from __future__ import annotations

import json
import sys
import time
from types import SimpleNamespace

import pytest

from fastbrain.errors import InputError, MissingPartError
from fastbrain.realtime.outputs import LslMarkers, LslOutlet


class FakeInlet:
    def __init__(self, stream, max_buflen):
        self.samples = list(stream)

    def pull_sample(self, timeout):
        if self.samples:
            return [self.samples.pop(0)], 0.0
        time.sleep(0.005)
        return None, None


@pytest.fixture
def lsl(monkeypatch):
    sent, streams = [], []
    module = SimpleNamespace(
        IRREGULAR_RATE=0.0,
        StreamInfo=lambda *facts: facts,
        StreamOutlet=lambda info: SimpleNamespace(push_sample=lambda s: sent.append((info, s))),
        resolve_byprop=lambda name, value, least, timeout: streams[:1],
        StreamInlet=FakeInlet,
    )
    monkeypatch.setitem(sys.modules, "pylsl", module)
    return SimpleNamespace(sent=sent, streams=streams)


def test_texts_are_sent_as_markers(lsl):
    outlet = LslOutlet()
    outlet.write({"type": "text", "index": 3, "text": "a dog"})
    outlet.write({"type": "mark", "index": 3, "label": "cue"})
    outlet.close()
    ((info, sample),) = lsl.sent
    assert info[:5] == ("fastbrain", "Markers", 1, 0.0, "string")
    assert json.loads(sample[0])["text"] == "a dog"


def test_markers_become_marks(lsl):
    lsl.streams.append(["cue on", "", "cue off"])
    seen = []

    def mark(label):
        if not label:
            raise InputError("mark: label must be given.")
        seen.append(label)

    markers = LslMarkers("stimulus", mark)
    end = time.monotonic() + 10
    while len(seen) < 2 and time.monotonic() < end:
        time.sleep(0.005)
    markers.close()
    assert seen == ["cue on", "cue off"]
    assert markers.refused == 1


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pylsl", None)
    for make in (LslOutlet, lambda: LslMarkers("x", print)):
        with pytest.raises(MissingPartError, match=r"fastbrain-fmri\[lsl\]"):
            make()
