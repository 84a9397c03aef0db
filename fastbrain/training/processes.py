"""Processes that train one model together, as torchrun or ``accelerate launch`` starts them.

Every process trains on its rows of each batch; the first one alone writes to the run folder. Each
process tells the others once in a while that it is alive. When one is lost or fails, the others end
with an error that names it: a collective operation alone would wait for it for minutes.
"""

from __future__ import annotations

import atexit
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import torch
from torch import distributed as dist

from .. import _progress
from .._shards import Part
from ..errors import FastbrainError, TrainingError
from .joining import Meeting, join
from .watch import Watch

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

P = ParamSpec("P")
R = TypeVar("R")
_POLL_S = 0.05
_LEAVE = timedelta(minutes=5)  # for the last messages of all
# for one process to follow another, which saves a checkpoint, say
_FOLLOW = timedelta(minutes=30)


class Processes:
    """The processes of a training; one alone has rank 0 of 1.

    Attributes
    ----------
    part : Part
        Rank of this process and number of processes.
    """

    def __init__(self, part: Part, store: Store | None = None) -> None:
        self.part, self._store, self._turn = part, store, 0
        self.watch: Watch | None = None

    @property
    def first(self) -> bool:
        """Whether this process writes to the run folder."""
        return self.part.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.part.world == 1

    def device(self, name: str) -> str:
        """Device of this process: ``"cuda"`` becomes the GPU of its local rank."""
        if self.alone or name != "cuda":
            return name
        return f"cuda:{int(os.environ.get('LOCAL_RANK', self.part.rank))}"

    def from_first(self, value: Any) -> Any:
        """Return the JSON value of the first process to all."""
        if self._store is None:
            return value
        key = self._key()
        if self.first:
            self._store.set(key, json.dumps(value))
        self._wait(key)
        return json.loads(self._store.get(key))

    @contextmanager
    def first_alone(self) -> Iterator[bool]:
        """Context manager for work of the first process; the others wait until it is done.

        Yields
        ------
        bool
            Whether this is the first process, which does the work.
        """
        if self._store is None:
            yield True
            return
        key = self._key()
        yield self.first
        if self.first:
            self._store.set(key, "done")
        self._wait(key)

    def meet(self) -> None:
        """Wait until all processes are here."""
        if self._store is not None:
            key = self._key()
            for rank in range(self.part.world):
                if rank == self.part.rank:
                    self._store.set(f"{key}/{rank}", "here")
                self._wait(f"{key}/{rank}")

    def _key(self) -> str:
        self._turn += 1
        return f"turn/{self._turn}"

    def _wait(self, key: str) -> None:
        assert self._store is not None
        while not self._store.check([key]):
            if self.watch is not None and self.watch.lost is not None:
                raise TrainingError(self.watch.lost)
            time.sleep(_POLL_S)

    def leave(self) -> None:
        """Report the end of this process; the first process holds the store, and leaves last."""
        assert self._store is not None
        self._store.set(f"left/{self.part.rank}", "left")
        if self.first:
            self._store.wait([f"left/{rank}" for rank in range(self.part.world)], _LEAVE)


_ALONE = Processes(Part())
_active: Processes | None = None
_failed = False


def processes() -> Processes:
    """Return the processes of the training that runs now; one alone outside of a training."""
    return _active or _ALONE


@contextmanager
def together(function: str, place: str = "cpu") -> Iterator[Processes]:
    """Join the processes of a training, and watch them until it ends.

    Does nothing for a single process or within another ``together``.

    Parameters
    ----------
    function : str
        Name of the calling function, for error messages.
    place : str
        Device of the training.

    Raises
    ------
    TrainingError
        Another process did not start, failed or was lost; the message names it.
    """
    global _active, _failed
    if _active is not None or not (_launched() or _grouped()):
        yield processes()
        return
    meeting = None if _grouped() else join(function)
    if meeting is None:
        rank, world = dist.get_rank(), dist.get_world_size()
    else:
        rank, world = meeting.rank, meeting.world
    store = _control(rank, meeting)
    _active = Processes(Part(rank, world), store)
    watch = _active.watch = Watch(store, rank, world, function)
    quiet = _progress.silence(rank > 0)
    try:
        with watch:
            if meeting is not None:
                _open_group(place, meeting)
            yield _active
            _active.meet()
        _active.leave()
    except BaseException as error:
        _failed = True
        # the failure of another process breaks the connection before its reason arrives
        if isinstance(error, RuntimeError) and not isinstance(error, FastbrainError):
            lost = watch.verdict()
            if lost is not None:
                raise TrainingError(lost) from error
        watch.tell(error)
        raise
    finally:
        _progress.silence(quiet)
        _active = None


def run_together(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a training function that several processes call at once; see :func:`together`.

    Its keyword `device`, if it has one, becomes the device of each process.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        device = str(kwargs.get("device", "cpu"))
        with together(function.__name__, device) as team:
            if "device" in kwargs:
                kwargs["device"] = team.device(device)
            return function(*args, **kwargs)

    return call


def _launched() -> bool:
    return int(os.environ.get("WORLD_SIZE") or 1) > 1 and "RANK" in os.environ


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _open_group(place: str, meeting: Meeting) -> None:
    backend = "gloo"
    if place.startswith("cuda"):
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(
        backend,
        store=meeting.store,
        rank=meeting.rank,
        world_size=meeting.world,
        timeout=_FOLLOW,
    )
    # the group stays for the next training; after a failure it cannot be taken down in order
    atexit.register(_close)


def _close() -> None:
    if dist.is_initialized() and not _failed:
        dist.destroy_process_group()


def message_device() -> torch.device:
    """Device of the tensors of short messages."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


def _control(rank: int, meeting: Meeting | None) -> Store:
    """Store of the messages of :class:`Processes`, held by the first process."""
    host = os.environ.get("MASTER_ADDR", "127.0.0.1")
    store = _store(host, 0, serve=True) if rank == 0 else None
    port = 0 if store is None else store.port
    if meeting is None:
        sent = torch.tensor([port], device=message_device())
        dist.broadcast(sent, 0)
        port = int(sent)
    elif store is not None:
        meeting.store.set("control", str(port))
    else:
        port = int(meeting.store.get("control"))
    return store or _store(host, port, serve=False)


def _store(host: str, port: int, *, serve: bool) -> Any:
    return dist.TCPStore(  # type: ignore[attr-defined]
        host, port, is_master=serve, wait_for_workers=False, timeout=_LEAVE
    )
