"""Run jobs in worker processes that share the cores, and end the workers with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.reduction import ForkingPickler
from typing import TypeVar

from ._threads import threads_each
from .errors import ConfigError, TrainingError

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_in_processes(
    task: Callable[[Job], Result], jobs: Sequence[Job], *, processes: int, name: str
) -> Iterator[tuple[int, Result]]:
    """Run a task on every job in new processes; yield each result when it is there.

    The cores are divided between the processes. If a job fails, or the caller is interrupted, the
    others are stopped.

    Parameters
    ----------
    task : callable
        A function of a module, so that a new process can import it.
    jobs : sequence
    processes : int
    name : str
        Name of the calling function, for messages.

    Yields
    ------
    int
        Position of the job.
    object
        Its result.

    Raises
    ------
    ConfigError
        A job cannot be sent to another process.
    TrainingError
        A process was killed, for example for its memory.
    """
    try:
        ForkingPickler.dumps((task, jobs))
    except Exception as error:  # of any type: arguments say themselves how they are sent
        raise ConfigError(
            f"{name}: with parallel > 1 every argument must be one that can be sent to another "
            f"process, got: {error}. Use functions of a module, or functools.partial of them, in "
            "place of lambdas and local functions; or parallel=1."
        ) from error
    processes = min(processes, len(jobs))
    before = set(multiprocessing.active_children())
    # a forked process would inherit the locks of torch's threads
    pool = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(threads_each(processes),),
    )
    try:
        waiting = {pool.submit(task, job): i for i, job in enumerate(jobs)}
        # the pool notices the death of the processes it knew when it was last given a job
        pool.submit(os.getpid)
        for done in as_completed(waiting):
            yield waiting[done], done.result()
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        if isinstance(error, BrokenProcessPool):
            raise TrainingError(
                f"{name}: a worker process must end by itself, got one that was killed, perhaps "
                "for its memory. Run fewer in parallel; the same line goes on."
            ) from error
        raise
    pool.shutdown()


def _begin(threads: int) -> None:
    """Prepare a worker: its share of the cores, and interrupts are the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read by torch when it is imported
    if "torch" in sys.modules:  # imported already by the script that the user started
        import torch

        torch.set_num_threads(threads)
