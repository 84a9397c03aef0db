"""Waiting policy of OpenMP threads, set before torch is imported.

The Linux wheels of torch contain libgomp. Its threads spin at the end of every parallel region for
about 300,000 rounds, several milliseconds, in case the next region starts soon. On an idle machine
this costs nothing. On a busy machine the spinning threads occupy cores that working threads need,
and training can slow down by more than ten times.
"""

from __future__ import annotations

import os
import sys

# Rounds of the libgomp waiting loop before a thread sleeps: some tens of microseconds, longer than
# the pause between two operators, shorter than a time slice. benchmarks/load.py measures it.
SPIN_COUNT = 3000
_USER_CHOICE = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def share_cores() -> bool:
    """Let waiting OpenMP threads sleep early, so that a busy machine stays fast.

    Every ``fastbrain`` command calls this. Call it at the top of your own scripts, before torch
    is imported: libgomp reads its settings once, when it is loaded. It sets ``GOMP_SPINCOUNT`` in
    this process and its child processes. Existing values of ``GOMP_SPINCOUNT`` or
    ``OMP_WAIT_POLICY`` are kept.

    Returns
    -------
    bool
        Whether the setting was made; False if the value of the user is kept or torch is already
        imported.
    """
    if "torch" in sys.modules or any(name in os.environ for name in _USER_CHOICE):
        return False
    os.environ["GOMP_SPINCOUNT"] = str(SPIN_COUNT)
    return True


def threads_each(processes: int) -> int:
    """Divide the cores, or the threads of ``OMP_NUM_THREADS``, between worker processes."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    threads = int(first) if first.isdigit() else len(os.sched_getaffinity(0))
    return max(1, threads // processes)


def load_line() -> str:
    """Describe the load of the machine; a warning if it exceeds the number of cores.

    Returns
    -------
    str
        Mean number of running processes over the last minute, and number of available cores.
    """
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    found = f"{load:.1f} processes on {cores} cores over the last minute"
    if load <= cores:
        return found
    return (
        f"warning: {found}. Training slows down with every process beside it: wait, or leave "
        "cores to the others with OMP_NUM_THREADS"
    )


def waiting_line() -> str:
    """Describe how long a waiting thread spins before it sleeps, and where this was set."""
    for name in _USER_CHOICE:
        if name in os.environ:
            origin = "by fastbrain" if os.environ[name] == str(SPIN_COUNT) else "by you"
            return f"{name}={os.environ[name]}, set {origin}"
    return "libgomp's default: threads spin for milliseconds, at the cost of other processes"
