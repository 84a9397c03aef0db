"""A simulated live session: its events, at any speed, for the tests and the making of the page.

``python tests/realtime/page/fake_session.py`` serves a session of made-up volumes until Ctrl-C.
"""

from __future__ import annotations

import argparse
import threading
import time
from typing import Any

import numpy as np

from fastbrain.realtime.session import Control, Publisher

STATUSES = ("ok", "late", "dropped", "duplicate", "out_of_order", "bad_volume", "held")
COUNTERS = (
    *("volumes", "records", *STATUSES, "missed", "strays", "queue_dropped", "unwritten"),
    "output_dropped",
)
SENTENCES = (
    "a small boat moves along the quiet shore",
    "two people walk through a field in the rain",
    "she opens the door and looks at the garden",
    "a dog runs after the ball on the beach",
    "the train leaves the station in the morning",
    "he puts the cup on the table and sits down",
)
PHRASES = (
    "a boat on the water",
    "people outside",
    "a quiet room",
    "an animal that runs",
    "a train",
)
REASONS = {
    "late": "the result came after its deadline",
    "dropped": "no volume came",
    "duplicate": "came 2 times",
    "out_of_order": "came after a later volume",
    "bad_volume": "the file is shorter than its header says",
    "held": "motion of 1.2 mm",
}


class FakeSession:
    """Publishes the events of simulated volumes."""

    def __init__(
        self,
        feed: Publisher,
        *,
        tr_s: float = 1.0,
        seed: int = 0,
        load: float = 1.0,
        faults: float = 0.05,
    ) -> None:
        self.feed, self.tr_s, self.deadline_s = feed, tr_s, tr_s / 2
        self.load, self.faults = load, faults
        self.commands: list[tuple[str, str]] = []
        self.control = Control(
            lambda: self.start(), lambda: self.stop(), lambda label: self.mark(label)
        )
        self.state, self.index, self.text_of = "ready", -1, None
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.begun = threading.Event()
        self.stopped = threading.Event()
        self._random = np.random.default_rng(seed)
        self._motion = np.zeros(6)
        self._head = _head()

    def start(self) -> None:
        self.commands.append(("start", ""))
        self.begun.set()

    def stop(self) -> None:
        self.commands.append(("stop", ""))
        self.stopped.set()
        self.begun.set()

    def mark(self, label: str) -> None:
        self.commands.append(("mark", label))
        self.publish("mark", index=self.index, label=label)

    def publish(self, kind: str, **fields: Any) -> None:
        at = (self.index + 1) * self.tr_s
        self.feed.publish({"type": kind, "at_s": round(at, 6), **fields})

    def show(self, state: str, **more: Any) -> None:
        self.state = state
        fields = {
            "state": state, "reason": "", "tr_s": self.tr_s, "deadline_s": self.deadline_s,
            "silence_s": 0.0, "counters": dict(self.counters), "source": "replay", "monitor": False,
        }  # fmt: skip
        self.publish("state", **(fields | more))

    def volume(self, status: str | None = None) -> None:
        """Publish all events of the next TR."""
        self.index += 1
        draw = self._random.random()
        fault = STATUSES[1 + int(self._random.integers(len(STATUSES) - 1))]
        status = status or (fault if draw < self.faults else "ok")
        if status not in ("dropped", "bad_volume"):
            self._measure(status)
        decodes = status in ("ok", "late", "duplicate") and self.index >= 4
        text = ""
        if decodes:
            text, status = self._decode(status)
        self.counters["records"] += 1
        self.counters[status] += 1
        self.publish(
            "record",
            index=self.index, status=status, reason=REASONS.get(status, ""), text=text,
            text_of=self.text_of, missed=status == "late", backlog=False,
        )  # fmt: skip
        self.counters["missed"] += status == "late"
        self.show("running")

    def _measure(self, status: str) -> None:
        step = self._random.normal(0, [0.008, 0.008, 0.015, 2e-4, 1e-4, 1e-4])
        step[2] += 0.9 * (status == "held")
        self._motion = 0.995 * self._motion + step
        event = {
            "index": self.index, "motion": self._motion.tolist(),
            "fd_mm": float(np.abs(step[:3]).sum() + 50 * np.abs(step[3:]).sum()),
            "tsnr": 62 - 40 / (self.index + 1) + float(self._random.normal(0, 0.4)),
            "spike": status == "held", "held": REASONS["held"] if status == "held" else "",
        }  # fmt: skip
        if self.feed.wants_previews:
            event["preview"] = self._preview()
        self.counters["volumes"] += 1
        self.publish("volume", **event)

    def _decode(self, status: str) -> tuple[str, str]:
        text = SENTENCES[self.index % len(SENTENCES)]
        first = self.load * self.tr_s * float(self._random.gamma(30, 0.005))
        whole = first + self.load * self.tr_s * float(self._random.gamma(14, 0.005))
        whole += self.deadline_s if status == "late" else 0.0
        status = "late" if whole > self.deadline_s else status
        margin = float(self._random.normal(0.35, 0.25))
        self.text_of = self.index
        self.publish("word", index=self.index, text=text.split()[0], latency_s=first)
        self.publish(
            "text",
            index=self.index, text=text, latency_s=whole, first_word_s=first,
            missed=status == "late",
        )  # fmt: skip
        ranked = [[p, margin - 0.13 * i] for i, p in enumerate(PHRASES)]
        confidence = float(self._random.beta(6, 7))
        self.publish(
            "control",
            index=self.index, confidence=confidence, margin_no_brain=margin, ranked=ranked,
        )  # fmt: skip
        names = ("queue", "motion", "resample", "statistics", "window", "first_word", "text")
        shares = (0.01, 0.22, 0.12, 0.02, 0.03, 0.6, 0.9)
        stages = {name: share * first for name, share in zip(names, shares, strict=True)}
        self.publish(
            "latency",
            index=self.index, deadline_s=self.deadline_s, first_word_s=first, text_s=whole,
            stages_s=stages,
        )  # fmt: skip
        return text, status

    def _preview(self) -> dict[str, np.ndarray]:
        z, y, x = (size // 2 for size in self._head.shape)
        still = {
            "axial": self._head[z],
            "coronal": self._head[:, y],
            "sagittal": self._head[:, :, x],
        }
        return {name: self._noisy(picture) for name, picture in still.items()}

    def _noisy(self, picture: np.ndarray) -> np.ndarray:
        noise = self._random.normal(1, 0.06, picture.shape)
        return np.clip(picture * noise, 0, 255).astype(np.uint8)


def _head() -> np.ndarray:
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (36, 64, 64)), indexing="ij")
    outer = (x / 0.72) ** 2 + (y / 0.88) ** 2 + ((z + 0.1) / 0.95) ** 2
    folds = 0.5 + 0.5 * np.sin(16 * x + 5 * np.sin(7 * y)) * np.sin(14 * y + 4 * np.sin(9 * z))
    inner = ((np.abs(x) - 0.14) / 0.1) ** 2 + (y / 0.3) ** 2 + (z / 0.28) ** 2
    tissue = np.where(outer < 0.72, 120 + 70 * folds, np.where(outer < 0.86, 30, 90))
    return np.where(outer > 1, 3, np.where(inner < 1, 235, tissue)).astype(float)


def main() -> None:
    from fastbrain.realtime.page import serve_page

    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--tr", type=float, default=1.0)
    parser.add_argument("--load", type=float, default=1.0, help="above 2, most texts are late")
    parser.add_argument("--faults", type=float, default=0.05)
    options = parser.parse_args()
    feed = Publisher()
    session = FakeSession(feed, tr_s=options.tr, load=options.load, faults=options.faults)
    page = serve_page(feed, session.control, host=options.host, port=options.port)
    print(page.url, flush=True)
    try:
        while not session.begun.wait(session.tr_s):
            session.show("ready")
        while not session.stopped.wait(session.tr_s):
            session.volume()
        session.show("stopped", reason="stopped")
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        page.close()


if __name__ == "__main__":
    main()
