"""Interrupts (Ctrl-C) of a process that runs jobs in other processes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class Interrupt:
    """A SIGINT that is acted on where no library holds a lock.

    KeyboardInterrupt can be raised between any two instructions, also where joblib or a queue has
    just taken a lock, which is then never released: the process waits for ever.

    Parameters
    ----------
    stop : Path
        File that is written at the first SIGINT; the workers end when they see it.
    """

    def __init__(self, stop: Path) -> None:
        self.came = False
        self._stop = stop

    @contextmanager
    def held(self) -> Iterator[None]:
        """Write the file at a SIGINT; raise KeyboardInterrupt at the end or at the next one.

        Outside of the main thread, or where another handler is set or the signal is ignored,
        nothing changes.
        """
        main = threading.current_thread() is threading.main_thread()
        if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, self._note)
        try:
            yield
        except Exception:
            # the workers have ended because of the interrupt, so their error says nothing
            if not self.came:
                raise
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.check()

    def check(self) -> None:
        """Raise KeyboardInterrupt if a SIGINT came."""
        if self.came:
            raise KeyboardInterrupt

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self.came:
            raise KeyboardInterrupt
        self.came = True
        try:
            self._stop.touch()
        except OSError:
            raise KeyboardInterrupt from None


@contextmanager
def blocked_in_workers() -> Iterator[None]:
    """Start processes that never see SIGINT, which a terminal sends to them too.

    They inherit the signals that are blocked. A SIGINT of this time reaches the parent at its end.
    """
    from multiprocessing import resource_tracker

    from joblib.externals.loky.backend import resource_tracker as loky_tracker

    # each unblocks the signal when it starts, so both are started before
    resource_tracker.ensure_running()
    loky_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
