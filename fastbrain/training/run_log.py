"""Send the log of a run to trackers, epoch by epoch, and to a function of the caller.

``log.jsonl`` of each stage is the record; trackers get its rows. A resumed run therefore adds what
a tracker does not have, also the epoch after which an earlier start was killed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .._io import write_json
from .._progress import say
from .._rules import count, table_of, text
from .._runfiles import read_log, read_record
from ..errors import FastbrainError, TrainingError
from .processes import processes
from .run import Row
from .trackers import TRACKERS, Tracker

RECORD = "trackers.json"


@contextmanager
def run_log(
    run: Path,
    stages: Sequence[Path],
    trackers: Sequence[str] = (),
    *,
    config: Mapping[str, Any],
    on_epoch: Callable[[Row], None] | None = None,
    function: str = "train",
) -> Iterator[Callable[[Row], None]]:
    """Open trackers for a run and close them at its end.

    Parameters
    ----------
    run : Path
        Run folder. ``trackers.json`` in it records the name of the run and the epochs sent.
    stages : sequence of Path
        Folders of the stages, in the order of training. Some may never exist.
    trackers : sequence of str
        Names, as :func:`fastbrain.training.trackers.check_trackers` returns them.
    config : mapping
        Configuration of the run, as JSON values.
    on_epoch : callable, optional
        Receives the row of every epoch after the trackers. What it raises stops training.
    function : str
        Name of the calling function, for error messages.

    Yields
    ------
    callable
        `on_epoch` of :func:`fastbrain.training.fit`, for all stages. A tracker that fails is
        reported once and not used again. Of several processes the first one sends.

    Raises
    ------
    TrainingError
        A tracker cannot be opened.
    CheckpointError
        ``trackers.json`` is damaged.
    """
    if not processes().first:
        yield lambda row: None
        return
    log = _Sent(run, stages)

    def epoch(row: Row) -> None:
        log.send()
        if on_epoch is not None:
            on_epoch(row)

    failed = True
    try:
        for name in trackers:
            log.open(name, config, function)
        yield epoch
        failed = False
    finally:
        log.close(failed)


class _Sent:
    """Open trackers, and how many epochs of each stage they have."""

    def __init__(self, run: Path, stages: Sequence[Path]) -> None:
        self.run, self.stages = run, stages
        self.open_now: dict[str, Tracker] = {}
        self.identity, self.sent = "", dict[str, dict[str, int]]()

    def open(self, name: str, config: Mapping[str, Any], function: str) -> None:
        path = self.run / RECORD
        if not self.identity and path.is_file():
            rules = {"run": text, "sent": table_of(table_of(count))}
            found = read_record(path, rules, function=function)
            self.identity, self.sent = found["run"], found["sent"]
        self.identity = self.identity or secrets.token_hex(4)
        try:
            tracker = TRACKERS[name](self.run, self.identity, config)
        except FastbrainError:
            raise
        except Exception as error:
            raise TrainingError(
                f"{function}: log must name trackers that can be opened, got {name}: "
                f"{_in_one_line(error)}. Correct it, or leave {name} out; go on with --resume or "
                "in a new folder."
            ) from error
        if not tracker.keeps:
            self.sent[name] = {}
        self.open_now[name] = tracker
        self._record()

    def send(self) -> None:
        """Send all rows of the logs that a tracker does not have."""
        for name, tracker in tuple(self.open_now.items()):
            try:
                self._send(tracker, self.sent.setdefault(name, {}))
            except Exception as error:
                self._drop(name, error)
        if self.open_now:
            self._record()

    def _send(self, tracker: Tracker, sent: dict[str, int]) -> None:
        for folder in self.stages:
            path, stage = folder / "log.jsonl", folder.name
            if not path.is_file():
                continue
            for row in read_log(path, function="train")[sent.get(stage, 0) :]:
                tracker.send(stage, _numbers(row), epoch=row["epoch"], step=sum(sent.values()))
                sent[stage] = sent.get(stage, 0) + 1

    def close(self, failed: bool) -> None:
        self.send()
        for name, tracker in tuple(self.open_now.items()):
            try:
                tracker.close(failed=failed)
            except Exception as error:
                self._drop(name, error)

    def _drop(self, name: str, error: Exception) -> None:
        del self.open_now[name]
        say(
            f"log: {name} failed and gets no more epochs of this start: {_in_one_line(error)}. "
            "Training goes on, and log.jsonl has every epoch."
        )

    def _record(self) -> None:
        write_json(self.run / RECORD, {"run": self.identity, "sent": self.sent})


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a row except its epoch."""
    return {
        name: value
        for name, value in row.items()
        if name != "epoch" and isinstance(value, int | float) and not isinstance(value, bool)
    }


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
