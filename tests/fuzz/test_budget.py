"""The bounds that damaged inputs are held to do hold."""

from __future__ import annotations

import mmap
import time

import pytest


def test_inputs_add_up(budget, monkeypatch):
    shares = type(budget).inputs.__globals__["SHARES"]
    for wanted in (20_000, 200_000):
        monkeypatch.setenv("FASTBRAIN_FUZZ", str(wanted))
        assert sum(budget.inputs(what) for what in shares) == wanted


def take(size: int) -> None:
    """Touch new pages; an allocator might hand out some that the process holds already."""
    with mmap.mmap(-1, size) as area:
        area[:: mmap.PAGESIZE] = bytes(size // mmap.PAGESIZE)


def test_memory_is_bounded_at_its_peak(bounded):
    # what was taken before, and given back, hides nothing
    take(96 << 20)
    with pytest.raises(AssertionError, match="MiB were taken"), bounded(32 << 20):
        take(48 << 20)
    with bounded(32 << 20):
        take(8 << 20)


def test_time_is_bounded(bounded, monkeypatch):
    clock = iter([0.0, 1.9, 5.0, 7.1])
    monkeypatch.setattr(time, "process_time", lambda: next(clock))
    with bounded(32 << 20):
        pass
    with pytest.raises(AssertionError, match="took 2"), bounded(32 << 20):
        pass
