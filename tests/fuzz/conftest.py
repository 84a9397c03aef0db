"""How many damaged inputs are tried, and what each may cost.

``FASTBRAIN_FUZZ`` is the number of all inputs; each test has its share of them. Memory is the peak
of the process above its start, so that it does not matter what ran before in the same process.
"""

from __future__ import annotations

import os
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest

DEFAULT_INPUTS = 20_000
# of the default number, by what is damaged
SHARES = {
    "image: plain": 4400,
    "image: inside gzip": 1500,
    "image: gzip itself": 1500,
    "image: pair": 600,
    "mask: plain": 1900,
    "mask: inside gzip": 600,
    "array: npy": 1100,
    "array: npz": 1100,
    "array: parquet": 1100,
    "array: hdf5": 300,
    "runs table": 700,
    "events": 700,
    "participants": 300,
    "sidecar": 300,
    "split": 900,
    "beta table": 300,
    "collection": 200,
    "store: json": 400,
    "store: arrays": 600,
    "dicom": 1500,
}
# of the processor: a busy machine must not fail a test. Inputs take milliseconds
SECONDS_AN_INPUT = 2.0
# all inputs of a test together: twice the cap that the tests give to images, and room for what the
# libraries load at their first use
MOST_BYTES = 128 << 20


@contextmanager
def bounded_time() -> Iterator[None]:
    """Bound the processor time of one input."""
    begin = time.process_time()
    yield
    taken = time.process_time() - begin
    assert taken < SECONDS_AN_INPUT, f"an input took {taken:.1f} s"


class Budget:
    """Says how many inputs a test shall try and bounds the time of each."""

    one = staticmethod(bounded_time)

    def inputs(self, what: str, *, tests: int = 1) -> int:
        """Number of inputs of each of the `tests` among which a share of :data:`SHARES` goes."""
        wanted = int(os.environ.get("FASTBRAIN_FUZZ", DEFAULT_INPUTS))
        return max(1, SHARES[what] * wanted // (DEFAULT_INPUTS * tests))


TOKENS = [
    b"",
    b"n/a",
    b"nan",
    b"-1e308",
    b"../../x",
    b"\0",
    b"\xff",
    b"\t\t",
    b"\n",
    b'"',
    b"9" * 400,
]


@contextmanager
def bounded_memory(most: int = MOST_BYTES) -> Iterator[None]:
    """Bound what is taken inside, at its peak, above what the process holds at the start."""
    begin = _reset_peak()
    yield
    taken = _peak() - begin
    assert taken < most, f"{taken >> 20} MiB were taken, {most >> 20} are allowed"


def _reset_peak() -> int:
    try:
        # Linux sets the peak back to what is held now; elsewhere only growth past it is seen
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass
    return _peak()


def _peak() -> int:
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        found = None
    if found:
        return int(found[1]) << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


@pytest.fixture
def budget() -> Iterator[Budget]:
    """Number of inputs and bound of each; the test's memory is bounded as a whole."""
    with bounded_memory():
        yield Budget()


@pytest.fixture
def mutate() -> Callable[[bytes, np.random.Generator], bytes]:
    """Changes up to three places of some bytes: another byte, a piece removed, put in, replaced."""

    def change(data: bytes, rng: np.random.Generator) -> bytes:
        changed = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(max(1, len(changed))))
            match rng.integers(4):
                case 0:
                    changed[at : at + 1] = bytes([int(rng.integers(256))])
                case 1:
                    del changed[at : at + int(rng.integers(1, 30))]
                case 2:
                    changed[at:at] = TOKENS[rng.integers(len(TOKENS))]
                case _:
                    end = at + int(rng.integers(1, 12))
                    changed[at:end] = TOKENS[rng.integers(len(TOKENS))]
        return bytes(changed)

    return change


@pytest.fixture
def bounded() -> Callable[[int], AbstractContextManager[None]]:
    """Context manager that bounds the time, and the bytes of memory, of what is done inside it."""

    @contextmanager
    def both(most: int) -> Iterator[None]:
        with bounded_memory(most), bounded_time():
            yield

    return both
