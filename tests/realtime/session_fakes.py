"""Sources, preprocessing and decoders of tests of a live session."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastbrain.realtime.session.window_decoder import Decoded, Listener
from fastbrain.realtime.volume import BadVolume, Clock, Volume

TR = 0.8


def volume(index: int, completed_s: float, *, tr_s: float | None = TR) -> Volume:
    data = np.full((2, 3, 5), index % 7, dtype=np.int16)
    acquired = None if tr_s is None else index * tr_s
    return Volume(index, data, np.eye(4), acquired, completed_s, tr_s)


class ScriptedSource:
    """Gives items at their times of a fake clock, and then ends or stays silent."""

    def __init__(
        self,
        clock: Clock,
        items: Iterable[tuple[float, int | BadVolume]],
        *,
        tr_s: float | None = TR,
        ends: bool = True,
        header_tr_s: float | None = TR,
    ) -> None:
        self.name, self.tr_s, self.clock = "scripted", tr_s, clock
        self.items, self.ends, self.header_tr_s = list(items), ends, header_tr_s
        self.closed = False

    def __iter__(self) -> Iterator[Volume | BadVolume | None]:
        start = self.clock.now()
        for at, item in self.items:
            while self.clock.now() < start + at:
                yield None
                self.clock.sleep(min(0.02, max(start + at - self.clock.now(), 1e-9)))
                if self.closed:
                    return
            if isinstance(item, BadVolume):
                yield BadVolume(item.index, item.reason, start + at)
            else:
                yield volume(item, start + at, tr_s=self.header_tr_s)
        while not self.ends and not self.closed:
            yield None
            self.clock.sleep(0.02)

    def close(self) -> None:
        self.closed = True


class FakePreprocessor:
    """Gives a window from the `warm_up`-th volume on, after `cost_s` seconds."""

    def __init__(self, clock: Clock, *, warm_up: int = 0, cost_s: float = 0.0) -> None:
        self.clock, self.warm_up, self.cost_s = clock, warm_up, cost_s
        self.pushed: list[int] = []
        self.held: dict[int, str] = {}
        self.broken: set[int] = set()

    def push(self, volume: Volume) -> Any:
        self.pushed.append(volume.index)
        self.clock.sleep(self.cost_s)
        if volume.index in self.broken:
            raise RuntimeError("a defect that names Jane^Doe")
        ready = len(self.pushed) > self.warm_up
        held = self.held.get(volume.index)
        return SimpleNamespace(
            index=volume.index,
            window=np.zeros((2, 3, 4), dtype=np.int16) if ready and held is None else None,
            held=held,
            motion=np.arange(6.0) / 10,
            displacement_mm=0.1,
            tsnr=50.0,
            spike=False,
            stages_s={"motion": self.cost_s},
        )


class FakeDecoder:
    """Writes "word I", I the number of its call, after `cost_s` seconds."""

    def __init__(self, clock: Clock, *, cost_s: float = 0.05, fails: Iterable[int] = ()) -> None:
        self.clock, self.cost_s, self.fails = clock, cost_s, set(fails)
        self.calls = 0

    def warm_up(self) -> None:
        pass

    def decode(self, window: Any, listener: Listener) -> Decoded:
        self.calls += 1
        self.clock.sleep(self.cost_s / 2)
        if self.calls in self.fails:
            raise RuntimeError("out of memory near Jane^Doe")
        listener.word("word")
        self.clock.sleep(self.cost_s / 2)
        text = f"word {self.calls}"
        listener.sentence(text)
        return Decoded(text, 0.5, 0.25)


class ListSink:
    """Keeps what a session writes."""

    def __init__(self) -> None:
        self.dropped = 0
        self.events: list[dict[str, Any]] = []

    def write(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]
