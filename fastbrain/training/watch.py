"""Watch the other processes of a training, and end this one when one of them is lost."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

_EVERY_S = 0.5
# a process that is computing or compiling still answers; one without power or network does not
SILENT_S = 60.0
_VERDICT_S = 5.0  # for the news of a failure to arrive after the connection broke
_GRACE_S = 10.0  # for the main thread to end by itself


class Watch:
    """Thread that reports that this process is alive, and notices when another is not.

    Parameters
    ----------
    store : Store
        Shared by all processes and held by the first.
    rank, world : int
    function : str
        Name of the calling function, for error messages.
    """

    def __init__(self, store: Store, rank: int, world: int, function: str) -> None:
        self.store, self.rank, self.world, self.function = store, rank, world, function
        self.lost: str | None = None
        self._stop = threading.Event()
        self._noticed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fastbrain-watch", daemon=True)

    def __enter__(self) -> Watch:
        self._place = _place()
        who = {"pid": os.getpid(), "host": os.uname().nodename, "place": self._place}
        self.store.set(f"who/{self.rank}", json.dumps(who))
        self.store.set(f"beat/{self.rank}", "0")
        self._who = {}
        for rank in range(self.world):
            self.store.wait([f"who/{rank}", f"beat/{rank}"])
            self._who[rank] = json.loads(self.store.get(f"who/{rank}"))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._stop.set()
            self._thread.join()

    def verdict(self) -> str | None:
        """Wait for the watch to find out who is lost, and return the message; None if none is."""
        self._noticed.wait(_VERDICT_S)
        self._stop.set()
        return self.lost

    def tell(self, error: BaseException) -> None:
        """Tell the others that this process fails, and why."""
        self._stop.set()
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
        try:
            if self.lost is None:
                self.store.set("failed", json.dumps({"rank": self.rank, "error": said}))
        except RuntimeError:  # the first process, which holds the store, is gone
            return
        if self.rank == 0:
            # the others read the message before their connection to this process closes
            time.sleep(3 * _EVERY_S)

    def _run(self) -> None:
        beats = {rank: ("0", time.monotonic()) for rank in range(self.world)}
        count = 0
        while not self._stop.wait(_EVERY_S):
            count += 1
            try:
                lost = self._look(beats, count)
            except RuntimeError:
                lost = self._named(0, "its connection closed")
            if lost is not None:
                self._end(lost)
                return

    def _look(self, beats: dict[int, tuple[str, float]], count: int) -> str | None:
        """Exchange signs of life; return a message if a process failed or is lost."""
        self.store.set(f"beat/{self.rank}", str(count))
        if self.store.check(["failed"]):
            failed = json.loads(self.store.get("failed"))
            return self._named(failed["rank"], f"it failed with {failed['error']}")
        now = time.monotonic()
        found = self.store.multi_get([f"beat/{rank}" for rank in range(self.world)])
        for rank, value in enumerate(found):
            beat = value.decode()
            if beat != beats[rank][0]:
                beats[rank] = beat, now
            if rank == self.rank:
                continue
            if self._is_gone(rank):
                return self._named(rank, "it was killed")
            if now - beats[rank][1] > SILENT_S:
                return self._named(rank, f"no sign of life for {SILENT_S:.0f} s")
        return None

    def _is_gone(self, rank: int) -> bool:
        """Whether a process of this machine has ended; others are judged by their silence."""
        who = self._who[rank]
        if self._place is None or who["place"] != self._place:
            return False
        try:
            state = Path(f"/proc/{who['pid']}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return state in "ZX"

    def _named(self, rank: int, how: str) -> str:
        who = self._who[rank]
        return (
            f"{self.function}: all {self.world} processes must train to the end, got the loss of "
            f"rank {rank} (pid {who['pid']} on host {who['host']}): {how}. Start them again with "
            "--resume: training goes on from the last checkpoint."
        )

    def _end(self, lost: str) -> None:
        """Let the main thread raise the error, or end the process if it waits for the lost one."""
        self.lost = lost
        self._noticed.set()
        if self._stop.wait(_GRACE_S):
            return
        print(f"fastbrain: {lost}", file=sys.stderr, flush=True)
        # a checkpoint is written under another name first, so that this loses none
        os._exit(1)


def _place() -> str | None:
    """Name of this boot of this machine and of its process ids, which containers have their own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None
