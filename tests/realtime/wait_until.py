"""Wait for what another thread does."""

from __future__ import annotations

import time
from collections.abc import Callable

WAIT_S = 20.0  # longest wait for what takes milliseconds


def wait_until(condition: Callable[[], bool]) -> None:
    """Return as soon as a condition holds; fail after a wait that only a defect explains."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.005)
