"""How OpenMP threads wait for each other, set before torch is imported.

torch's Linux wheels ship libgomp. Its threads spin at the end of every parallel region for about
300,000 rounds, several milliseconds, in case the next region starts soon. On an idle machine that
costs nothing. Beside other busy processes the spinning threads hold the cores that the working ones
need, and training can slow down by more than ten times.
"""

from __future__ import annotations

import os
import sys

# Rounds of libgomp's waiting loop before a thread sleeps: some tens of microseconds, longer than
# the pause between two operators, shorter than a time slice. benchmarks/load.py measures it.
SPIN_COUNT = 3000
_USER_CHOICE = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def share_cores() -> bool:
    """Let waiting OpenMP threads sleep early, so that a busy machine stays fast.

    Every ``fastbrain`` command calls this. Call it at the top of a script of your own, before torch
    is imported: libgomp reads its settings once, when it is loaded. It sets ``GOMP_SPINCOUNT`` in
    this process and those it starts. A value of ``GOMP_SPINCOUNT`` or ``OMP_WAIT_POLICY`` that is
    already set is kept.

    Returns
    -------
    bool
        Whether the setting was made; False where the user's own is kept or torch is imported
        already.
    """
    if "torch" in sys.modules or any(name in os.environ for name in _USER_CHOICE):
        return False
    os.environ["GOMP_SPINCOUNT"] = str(SPIN_COUNT)
    return True


def load_line() -> str:
    """How busy the machine is, in words; a warning where more wants to run than there are cores.

    Returns
    -------
    str
        Mean number of running processes over the last minute, and the cores of this process.
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
    """How long a waiting thread spins before it sleeps, and who decided that."""
    for name in _USER_CHOICE:
        if name in os.environ:
            who = "by fastbrain" if os.environ[name] == str(SPIN_COUNT) else "by you"
            return f"{name}={os.environ[name]}, set {who}"
    return "libgomp's default: threads spin for milliseconds, at the cost of other processes"
