"""Work in processes of its own: what crashes, hangs or is killed is a row, and the rest goes on.

A worker appends events to a file, one JSON object a line: ``at`` before whatever may end it, with
the seconds after which it counts as hanging, ``row`` for a result, ``done`` for a unit that must
not run again, ``left`` for what there was no time for. When a worker dies or is killed, the unit it
was at becomes a row, and a new worker goes on with the others.

The supervising process needs neither torch nor a GPU, so that no crash of theirs ends it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep, time
from typing import Any

# exit code of a worker that asks for a new process because its GPU context is spoilt
SPOILT = 86
# exit code of compute-sanitizer where it found something
UNSOUND = 97
_POLL_S = 0.02
# a worker that dies so often is given up
_MOST_STARTS = 30


@dataclass(frozen=True)
class Job:
    """One kind of work.

    Parameters
    ----------
    name : str
        As the summary calls it.
    command : tuple of str
        The worker; ``--events FILE`` and ``--skip JSON`` are added.
    deadline : float
        Seconds since the epoch after which it is stopped.
    start_s : float
        Seconds that it may take until its first event.
    row : dict
        What rows about the whole job say: op, case, provider.
    environment : dict of str
        Added to this process's.
    """

    name: str
    command: tuple[str, ...]
    deadline: float
    start_s: float = 120.0
    row: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    """What failed, what there was no time for, and how many rows there are."""

    failed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    rows: int = 0

    def add(self, other: Outcome) -> None:
        """Take in another outcome."""
        self.failed += other.failed
        self.left += other.left
        self.rows += other.rows


def supervise(job: Job, write: Callable[[dict[str, Any]], None]) -> Outcome:
    """Run a job to its end, in as many processes as that takes.

    Parameters
    ----------
    job : Job
    write : callable
        Receives every row, those of failures included.

    Returns
    -------
    Outcome
    """
    outcome, skip = Outcome(), []
    for _ in range(_MOST_STARTS):
        worker = _Worker(job, skip, write, outcome)
        died = worker.run()
        skip = worker.skip
        if not died:
            return outcome
        if time() > job.deadline:
            outcome.left.append(f"{job.name} after {worker.at.get('at') or 'its start'}")
            return outcome
    outcome.failed.append(f"{job.name}: given up")
    return outcome


class _Worker:
    """One process of a job."""

    def __init__(
        self,
        job: Job,
        skip: list[str],
        write: Callable[[dict[str, Any]], None],
        outcome: Outcome,
    ) -> None:
        self.job, self.skip, self.outcome = job, list(skip), outcome
        self.at: dict[str, Any] = {}
        self._write, self._environment = write, {"threads": None}

    def run(self) -> bool:
        """Run the process to its end; whether another one has to go on."""
        with tempfile.TemporaryDirectory() as folder:
            events, log = Path(folder) / "events", Path(folder) / "log"
            events.touch()
            added = ["--events", str(events), "--skip", json.dumps(self.skip)]
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [*self.job.command, *added],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, **self.job.environment},
                    start_new_session=True,
                )
                try:
                    reason = self._follow(process, events)
                finally:
                    _kill(process)
            return self._judge(process.returncode, reason, log)

    def _follow(self, process: subprocess.Popen[bytes], events: Path) -> str | None:
        """Read events until the process ends; the reason if it was stopped."""
        last, limit = time(), self.job.start_s
        with events.open() as file:
            rest = ""
            while True:
                ended = process.poll() is not None
                text = file.read()
                if text:
                    *lines, rest = (rest + text).split("\n")
                    for line in lines:
                        limit = self._heard(json.loads(line), limit)
                    last = time()
                elif ended:
                    return None
                elif time() > self.job.deadline:
                    return "no time left"
                elif time() - last > limit:
                    return f"hangs: nothing for {limit:.3g} s"
                else:
                    sleep(_POLL_S)

    def _heard(self, event: dict[str, Any], limit: float) -> float:
        if "row" in event:
            row = event["row"]
            self._environment = row["env"]
            self.outcome.rows += 1
            self._write(row)
        self.skip += event.get("done", [])
        self.outcome.failed += event.get("failed", [])
        self.outcome.left += event.get("left", [])
        if "at" in event:
            self.at = event
        return float(event.get("limit_s", limit))

    def _judge(self, code: int, reason: str | None, log: Path) -> bool:
        if reason is None and code == 0:
            return False
        if reason is None and code == SPOILT:
            return True
        if reason == "no time left":
            self._row("dropped", reason)
            return True
        if reason is None:
            reason = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            if code == UNSOUND:
                reason = "compute-sanitizer found an error"
            if code > 0:
                reason += f": {_tail(log)}"
        unit = self.at.get("at")
        name = unit or self.job.name
        self.outcome.failed.append(f"{name} ({reason.splitlines()[0][:80]})")
        self._row("failed", reason)
        if unit is None or unit in self.skip:
            # it never got to its first unit, or does not skip what it was asked to skip
            return False
        self.skip.append(unit)
        return True

    def _row(self, kind: str, reason: str) -> None:
        about = {"op": "worker", "case": self.job.name, "provider": "", **self.job.row}
        about |= self.at.get("row_of", {})
        doing = self.at.get("doing", "starting")
        self.outcome.rows += 1
        self._write(
            {
                **about,
                "op": f"{kind}_{about['op']}",
                "note": f"{reason} while {doing}"[:600],
                "env": self._environment,
            }
        )


def die_with_parent() -> None:
    """Have this process killed when the one that started it ends, however that ends (Linux)."""
    set_death_signal = 1
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all it started; it is gone when this returns."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def _tail(log: Path, lines: int = 3) -> str:
    text = log.read_text(errors="replace").strip().splitlines()
    return " | ".join(line.strip() for line in text[-lines:])[-400:]
