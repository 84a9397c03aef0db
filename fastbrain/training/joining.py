"""Join the processes of one attempt at a training, within a limit of time.

The store of a launcher can outlive its processes: torchrun keeps it over automatic restarts, with
what the processes of the last attempt wrote. New processes that read the addresses of old ones
wait for them for ever. Here each process writes a random word, the first one answers all words with
a name for this attempt, and every later key begins with that name.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from torch import distributed as dist

from ..errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

LIMIT = "FASTBRAIN_JOIN_S"
DEFAULT_S = 300.0
_POLL_S = 0.05
_PLACE = ("MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Meeting:
    """Processes that have found each other.

    Attributes
    ----------
    store : Store
        With keys of this attempt alone.
    rank, world : int
    """

    store: Store
    rank: int
    world: int


def join_limit_s() -> float:
    """Return the time that processes wait for each other to start, in seconds.

    Raises
    ------
    ConfigError
        The environment variable `FASTBRAIN_JOIN_S` is not a positive number.
    """
    given = os.environ.get(LIMIT) or str(DEFAULT_S)
    try:
        limit = float(given)
    except ValueError:
        limit = math.nan
    if not 0 < limit < math.inf:
        raise ConfigError(
            f"join: {LIMIT} must be a positive number of seconds, got '{given}'. Leave it out for "
            f"{DEFAULT_S:.0f}."
        )
    return limit


def join(function: str) -> Meeting:
    """Meet the other processes that a launcher started; its variables are in the environment.

    Parameters
    ----------
    function : str
        Name of the calling function, for error messages.

    Raises
    ------
    TrainingError
        Some processes did not come in time; the message names them.
    ConfigError
        The limit of time is not a number, or the launcher did not say where to meet.
    """
    limit = join_limit_s()
    if absent := [name for name in _PLACE if not os.environ.get(name)]:
        raise ConfigError(
            f"{function}: a launcher of several processes must set {' and '.join(_PLACE)}, got no "
            f"{' and no '.join(absent)}. Start them with torchrun or accelerate launch."
        )
    rank, world = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))
    hall = _Hall(function, rank, world, limit)
    try:
        name = hall.invite() if rank == 0 else hall.follow()
    except TrainingError:
        raise
    except RuntimeError as error:
        reason = f"a connection to {hall.place} that closed ({_line(error)})"
        raise hall.refusal(reason) from error
    store = dist.PrefixStore(f"fastbrain/{name}", hall.store)  # type: ignore[attr-defined]
    return Meeting(store, rank, world)


class _Hall:
    """The store of the launcher, before the processes know each other."""

    def __init__(self, function: str, rank: int, world: int, limit: float) -> None:
        self.function, self.rank, self.world, self.limit = function, rank, world, limit
        self.until = time.monotonic() + limit
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        self.place = f"{host}:{port}"
        # torchrun may hold the store itself; else the first process does
        hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == str(True)
        try:
            self.store = dist.TCPStore(  # type: ignore[attr-defined]
                host,
                port,
                is_master=rank == 0 and not hosted,
                wait_for_workers=False,
                multi_tenant=True,
                timeout=timedelta(seconds=limit),
            )
        except RuntimeError as error:
            reason = f"rank 0 missing: nothing answers at {self.place} ({_line(error)})"
            raise self.refusal(reason) from error

    def invite(self) -> str:
        """Name this attempt, and wait until all processes have answered to the name."""
        name = secrets.token_hex(8)
        answered: dict[str, str] | None = None
        while True:
            words = {str(r): self._read(f"word/{r}") for r in range(1, self.world)}
            if words != answered:
                self._write("invitation", json.dumps({"name": name, "words": words}))
                answered = words
            if not (missing := self._missing(name)):
                self._write("begin", name)
                return name
            self._wait(missing)

    def follow(self) -> str:
        """Wait for the invitation that holds the word of this process, and for the others."""
        word = secrets.token_hex(8)
        self._write(f"word/{self.rank}", word)
        while True:
            invitation = json.loads(self._read("invitation") or "{}")
            missing = [0]
            if invitation and invitation["words"].get(str(self.rank)) == word:
                name = str(invitation["name"])
                self._write(f"here/{self.rank}", name)
                if self._read("begin") == name:
                    return name
                missing = self._missing(name)
            self._wait(missing)

    def refusal(self, reason: str) -> TrainingError:
        """Error of a process that could not join."""
        return TrainingError(
            f"{self.function}: all {self.world} processes must start within {self.limit:g} s, got "
            f"{reason}. Look for what ended them and start all again, or set {LIMIT} to more "
            "seconds if they start slowly."
        )

    def _missing(self, name: str) -> list[int]:
        return [r for r in range(1, self.world) if self._read(f"here/{r}") != name]

    def _wait(self, missing: list[int]) -> None:
        if time.monotonic() > self.until:
            ranks = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
            raise self.refusal(f"{len(missing)} missing (rank {ranks})")
        time.sleep(_POLL_S)

    def _read(self, key: str) -> str:
        key = f"fastbrain/join/{key}"
        return self.store.get(key).decode() if self.store.check([key]) else ""

    def _write(self, key: str, value: str) -> None:
        self.store.set(f"fastbrain/join/{key}", value)


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
