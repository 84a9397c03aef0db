"""Providers that go wrong on purpose, to try ``gpu_suite.sh --smoke --smoke-faults``.

One raises, one is wrong, one is slow, one hangs and one is killed. Each must leave a row, and the
providers that are right must be timed all the same.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from time import sleep

from fastbrain.bench.registry import Entry, Problem, Setting

# seconds after which the suite takes the hanging provider for what it is
HANG_S = 4.0


def _fails() -> float:
    raise RuntimeError("this provider fails on purpose")


def _hangs() -> float:
    while True:
        sleep(1)


def _dies() -> float:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0.0


def _slow() -> float:
    sleep(0.1)
    return 0.0


def _build(setting: Setting) -> Problem:
    ways: dict[str, Callable[[], float]] = {
        "fastbrain": lambda: 0.0,
        "fails": _fails,
        "wrong": lambda: 1.0,
        "hangs": _hangs,
        "dies": _dies,
        "slow": _slow,
        "right": lambda: 0.0,
    }
    return Problem(providers=ways, error=lambda _name, got: got, limit=0.5, flops=1.0, traffic=1.0)


PROVIDERS = ("fastbrain", "right")
ENTRIES = [Entry("fault", "faults", _build, limit_s=HANG_S)]
