"""Number of threads of short steps, chosen by their times.

A step has some parallel sections a layer, and each waits for its slowest thread: beside other busy
processes, or where a model is small, one thread is faster than all. What a step computes does not
depend on it.
"""

from __future__ import annotations

from collections import defaultdict

_PROBE_EVERY = 32  # steps between two trials of the slower number
_WEIGHT = 0.25  # of the newest time in the running mean


class ThreadChoice:
    """One thread or all of them, whichever was faster lately, for each size of a step."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[int, int], float] = {}
        self._steps: dict[int, int] = defaultdict(int)

    def choose(self, size: int, most: int) -> int:
        """Return the number of threads of the next step.

        Parameters
        ----------
        size : int
            Steps of other sizes have other times.
        most : int
            Threads that may be used.
        """
        if most == 1:
            return 1
        for threads in (most, 1):
            if (size, threads) not in self._seconds:
                return threads
        faster, slower = sorted((1, most), key=lambda threads: self._seconds[size, threads])
        self._steps[size] += 1
        return slower if self._steps[size] % _PROBE_EVERY == 0 else faster

    def record(self, size: int, threads: int, seconds: float) -> None:
        """Take note of the time of a step."""
        before = self._seconds.get((size, threads), seconds)
        self._seconds[size, threads] = before + _WEIGHT * (seconds - before)
