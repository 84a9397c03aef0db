"""Run jobs in processes of this machine or on a dask cluster, through joblib."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from ._interrupts import Interrupt, blocked_in_workers
from .errors import ConfigError, FastbrainError, InputError, MissingPartError, some

Job = TypeVar("Job")
Result = TypeVar("Result")

_CLUSTER_S = 30  # seconds to wait for the scheduler, and for its first worker
_WATCH_S = 0.2
STOP = ".stop"  # beside the marks; the workers end when it is there


def run_jobs(
    task: Callable[[Job], Result],
    jobs: Mapping[str, Job],
    *,
    n_jobs: int,
    dask: str | None,
    marks: Path,
    function: str,
    error: type[FastbrainError],
) -> Iterator[tuple[str, Result]]:
    """Run a task on every job in other processes; yield each result when it is there.

    If a job fails or the caller is interrupted, the others are stopped.

    Parameters
    ----------
    task : callable
        A function of a module.
    jobs : mapping of str to job
        By name.
    n_jobs : int
        Number of processes on this machine.
    dask : str or None
        Address of the scheduler of a dask cluster that runs the jobs instead. Its workers need
        this package and the same file system.
    marks : Path
        Empty folder for files that name the jobs in progress; the workers write it.
    function : str
        Name of the calling function, for messages.
    error : type of FastbrainError
        Type of the error raised if a worker is killed.

    Yields
    ------
    str
        Name of the job.
    object
        Its result.

    Raises
    ------
    FastbrainError
        Of the kind `error`: a worker was killed; the message names the jobs in progress.
    ConfigError
        The cluster cannot be reached or has no workers.
    MissingPartError
        dask is not installed.
    """
    from joblib import Parallel, delayed

    owner = None if dask is not None else os.getpid()
    wrapped = _Marked(task, marks, owner)
    interrupt = Interrupt(marks / STOP)
    with _cluster(dask, function) if dask is not None else interrupt.held():
        parallel = Parallel(
            n_jobs=-1 if dask is not None else min(n_jobs, len(jobs)),
            backend=None if dask is not None else "loky",
            return_as="generator_unordered",
            batch_size=1,
            max_nbytes=None,
        )
        with blocked_in_workers() if dask is None else nullcontext():
            results = parallel(delayed(wrapped)(name, job) for name, job in jobs.items())
        try:
            for result in results:
                interrupt.check()
                yield result
        except Exception as reason:
            if not _killed(reason):
                raise
            busy = sorted(path.name for path in marks.iterdir())
            raise error(
                f"{function}: a worker process must end by itself, got one that was killed while "
                f"it worked on {some(busy) if busy else 'its first job'}, perhaps for its memory. "
                "Run fewer jobs at a time; --resume goes on with the finished ones."
            ) from reason
        finally:
            results.close()


def check_jobs(n_jobs: int, function: str) -> int:
    """Return the number of processes that `n_jobs` asks for; -1 means one a core.

    Raises
    ------
    InputError
        It is neither -1 nor positive.
    """
    if n_jobs != -1 and n_jobs < 1:
        raise InputError(
            f"{function}: n_jobs must be 1 or more, or -1 for one a core, got {n_jobs}."
        )
    return len(os.sched_getaffinity(0)) if n_jobs == -1 else n_jobs


@dataclass(frozen=True)
class _Marked(Generic[Job, Result]):
    """A task that leaves a file with its name while it runs."""

    task: Callable[[Job], Result]
    marks: Path
    owner: int | None

    def __call__(self, name: str, job: Job) -> tuple[str, Result]:
        if self.owner is not None:
            _prepare_worker(self.owner, self.marks / STOP)
        mark = self.marks / name
        mark.touch()
        try:
            return name, self.task(job)
        finally:
            with suppress(OSError):
                mark.unlink()


_stop_files: dict[int, Path] = {}  # of each parent, the file of its present jobs


def _prepare_worker(owner: int, stop: Path) -> None:
    """Leave interrupts to the parent; end with it, however it ends, and when it says so."""
    watched = owner in _stop_files
    # the same worker may run the jobs of another call later
    _stop_files[owner] = stop
    if watched:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == owner and not _stop_files[owner].exists():
            time.sleep(_WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, name="fastbrain-parent", daemon=True).start()


def _killed(reason: BaseException) -> bool:
    if isinstance(reason, BrokenProcessPool):
        return True
    scheduler = sys.modules.get("distributed.scheduler")
    return scheduler is not None and isinstance(reason, scheduler.KilledWorker)


@contextmanager
def _cluster(address: str, function: str) -> Iterator[None]:
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise MissingPartError(
            f"{function}: dask must be installed to run on a cluster, got none. "
            "pip install 'fastbrain-fmri[dask]'"
        ) from error
    from joblib import parallel_config

    try:
        client = Client(address, timeout=_CLUSTER_S, set_as_default=False)
        client.wait_for_workers(1, timeout=_CLUSTER_S)
    except (OSError, ValueError) as error:  # a timeout is an OSError
        raise ConfigError(
            f"{function}: dask must be the address of a scheduler with workers, got {address!r}: "
            f"{error}. Start both first (dask scheduler, dask worker ADDRESS)."
        ) from error
    with client, _configured(parallel_config, client):
        yield


def _configured(parallel_config: Any, client: Any) -> AbstractContextManager[Any]:
    backend: AbstractContextManager[Any] = parallel_config(backend="dask", client=client)
    return backend
