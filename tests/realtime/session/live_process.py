"""A session in a process of its own, to be ended from outside: ``live_process.py LOG VOLUMES``."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from session_fakes import FakePreprocessor, ScriptedSource

from fastbrain.realtime.outputs.jsonl import JsonlLog
from fastbrain.realtime.session.session import Session
from fastbrain.realtime.session.settings import Settings
from fastbrain.realtime.session.window_decoder import Decoded
from fastbrain.realtime.volume import MonotonicClock

TR_S = 0.02


class Slow:
    """Takes a part of a TR; the last one, or a cold start, more than the test waits for."""

    calls = 0

    def warm_up(self):
        if "--cold" in sys.argv:
            time.sleep(60)

    def decode(self, window, listener):
        self.calls += 1
        hangs = "--hang" in sys.argv and self.calls > 10
        for _ in range(10_000 if hangs else 4):
            if listener.stops() and "--deaf" not in sys.argv:
                break
            time.sleep(0.001)
        listener.word("word")
        listener.sentence("secret words")
        return Decoded("secret words")


def main() -> int:
    path, count = sys.argv[1], int(sys.argv[2])
    log = JsonlLog(path, run="digest", source="scripted", tr_s=TR_S)
    clock = MonotonicClock()
    items = [(i * TR_S, i) for i in range(count)]
    source = ScriptedSource(clock, items, tr_s=TR_S, header_tr_s=TR_S, ends=False)
    session = Session(
        source,
        FakePreprocessor(clock),
        Slow(),
        settings=Settings(idle_timeout_s=20.0),
        sinks=[log],
        first=log.first,
        open_before=log.open_before,
        clock=clock,
    )
    signal.signal(signal.SIGTERM, lambda *_: session.stop("SIGTERM"))
    print("ready", flush=True)
    return 143 if session.run().reason == "SIGTERM" else 1


if __name__ == "__main__":
    raise SystemExit(main())
