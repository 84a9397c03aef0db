"""A run of the benchmarks: which entries are due, until when, and what is kept of each."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import time

import torch

from .._progress import track
from ..errors import BackendError, ConfigError, some
from .assembly import all_entries, provider_names
from .ceilings import record_roofline
from .limits import NO_TIME, Limits, SpoiltContext
from .machine import Recorder, no_tf32
from .measuring import Measurement
from .registry import Entry, Setting
from .rows import Row, RowFile, cache_of

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# no provider takes more of the time of an entry in one call
_SHARE = 0.25


@dataclass(frozen=True)
class Plan:
    """What is timed, and how.

    Parameters
    ----------
    ops, cases, providers : sequence of str
        Empty takes all; our providers always take part.
    device, dtype : str
    threads : int, optional
        Default: those of PyTorch.
    rounds : int, optional
        Default: what each entry says.
    budget_s : float
        Seconds for all entries together, without building them.
    caches : sequence of str
        ``"cold"``, ``"warm"`` or both.
    compiled : bool
        Whether to time the compiled form of plain PyTorch too.
    out : Path, optional
        File of rows; entries that it has from the same code and machine are not timed again.
    machine : str, optional
        Name of the machine in the rows; default: that of its processor or GPU.

    Raises
    ------
    ConfigError
        An op, case, provider or cache does not exist, or no entry is left.
    """

    ops: Sequence[str] = ()
    cases: Sequence[str] = ()
    providers: Sequence[str] = ()
    device: str = "cpu"
    dtype: str = "float32"
    threads: int | None = None
    rounds: int | None = None
    budget_s: float = math.inf
    caches: Sequence[str] = ("warm",)
    compiled: bool = False
    out: Path | None = None
    machine: str | None = None

    def __post_init__(self) -> None:
        known = all_entries()
        _check("op", self.ops, sorted({entry.op for entry in known}))
        of_ops = [entry for entry in known if not self.ops or entry.op in self.ops]
        _check("case", self.cases, sorted({entry.case for entry in of_ops}))
        _check("provider", self.providers, provider_names())
        if not self.caches:
            raise ConfigError("bench run: cold or warm must be on, got neither. Add --cold.")
        counts = [n for n in (self.rounds, self.threads) if n is not None]
        if min(counts, default=1) < 1 or not self.budget_s > 0:
            raise ConfigError(
                f"bench run: rounds, threads and budget must be positive, got {self.rounds}, "
                f"{self.threads} and {self.budget_s}. Correct them."
            )

    @property
    def setting(self) -> Setting:
        """Device and precision."""
        return Setting(self.device, DTYPES[self.dtype], self.compiled)

    def entries(self) -> list[Entry]:
        """The entries that are chosen and suit the setting.

        Raises
        ------
        ConfigError
            There is none.
        """
        setting = self.setting
        chosen = [
            entry
            for entry in all_entries()
            if (not self.ops or entry.op in self.ops)
            and (not self.cases or entry.case in self.cases)
            and entry.suits(setting)
        ]
        if not chosen:
            raise ConfigError(
                f"bench run: some case must suit {self.device} and {self.dtype}, got none. "
                "Choose another --dtype or --device; `fastbrain bench run --list` shows the cases."
            )
        return chosen


def _check(what: str, asked: Sequence[str], known: Sequence[str]) -> None:
    for name in asked:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"bench run: {what} must be one of {some(known, 12)}, got {name!r}."
                f"{hint} `fastbrain bench run --list` shows all."
            )


@dataclass
class Outcome:
    """What became of the entries.

    Parameters
    ----------
    failed : list of str
        Providers that raised or were wrong, ``op-case (provider)``.
    left : list of str
        Entries for which there was no time.
    known : list of str
        Entries that the file had already.
    """

    failed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)


class Session:
    """Times the entries of a plan one after the other.

    Parameters
    ----------
    plan : Plan
    show : callable
        Receives the rows of each entry once it is done.
    """

    def __init__(self, plan: Plan, show: Callable[[Sequence[Row]], None]) -> None:
        self.plan, self._show = plan, show
        if plan.threads is not None:
            torch.set_num_threads(plan.threads)
        no_tf32()
        self._buffer: list[Row] = []
        facts = {} if plan.machine is None else {"machine": plan.machine}
        self.recorder = Recorder(self._buffer.append, plan.device, facts)
        self.file = RowFile(plan.out)

    def run(self) -> Outcome:
        """Time what is due; what is done is kept in the file at once.

        Raises
        ------
        BackendError
            The GPU refuses everything after an illegal access of a provider.
        DiskError
            The file cannot be written.
        """
        plan, outcome = self.plan, Outcome()
        chosen = plan.entries()
        due = [entry for entry in chosen if not self._has(entry)]
        outcome.known = [entry.id for entry in chosen if entry not in due]
        if not due:
            return outcome
        best = self._roofline()
        end = time() + plan.budget_s
        for done, entry in enumerate(track(due, "timing")):
            share = (end - time()) / (len(due) - done)
            if share <= 0:
                outcome.left.append(entry.id)
                continue
            outcome.failed += [f"{entry.id} ({name})" for name in self._time(entry, share, best)]
            self._keep()
        return outcome

    def _time(self, entry: Entry, share: float, best: dict[str, float]) -> list[str]:
        limits = Limits(call_s=share * _SHARE, deadline=time() + share, graphs=entry.graph)
        measurement = Measurement(
            *(entry, self.plan.setting, self.recorder, best),
            limits=limits,
            chosen=self.plan.providers or None,
            caches=self.plan.caches,
        )
        try:
            return measurement.run(self.plan.rounds)
        except SpoiltContext as error:
            self._keep()
            raise BackendError(
                f"bench run: the GPU must go on after {entry.id}, got an illegal access of "
                f"{', '.join(measurement.failed)}. Run the same line again: it goes on behind it."
            ) from error
        except Exception as error:
            # the problem could not be set up; the other entries do not depend on it
            note = f"{type(error).__name__}: {error}"[:500]
            names = {"op": f"failed_{entry.op}", "case": entry.case, "provider": ""}
            dtype = entry.precision_in(self.plan.setting)
            self.recorder.row(**names, dtype=dtype, note=note)
            return ["could not be set up"]

    def _keep(self) -> None:
        rows = [*self._buffer]
        self._buffer.clear()
        self.file.append(rows)
        self._show(rows)

    def _roofline(self) -> dict[str, float]:
        """Bandwidth and operations a second of this machine: measured, or of the same file."""
        precision = self.plan.setting.precision
        for row in reversed(self.file.rows):
            if row["op"] == "roofline" and row["case"] == precision and self._is_own(row):
                return {"bytes": row["gbytes"] * 1e9, "flops": row["gflops"] * 1e9}
        best = record_roofline(self.plan.setting, self.recorder)
        self._keep()
        return best

    def _is_own(self, row: Row) -> bool:
        """Whether a row is of this code on this machine, with as many threads."""
        names = ("commit", "sources", "threads", "cpu", "isa", "torch", "gpu")
        own, env = self.recorder.environment, row["env"]
        same = all(own.get(name) == env.get(name) for name in names)
        return same and row.get("machine") == self.plan.machine

    def _has(self, entry: Entry) -> bool:
        """Whether the file has all that would be asked of an entry."""
        precision = entry.precision_in(self.plan.setting)
        kinds = (entry.op, f"failed_{entry.op}", f"skipped_{entry.op}", f"dropped_{entry.op}")
        own = [
            row
            for row in self.file.rows
            if row["op"] in kinds
            and row.get("case") == entry.case
            and row.get("dtype") == precision
            and row.get("note") != NO_TIME
            and self._is_own(row)
        ]
        timed = [row for row in own if row["op"] == entry.op]
        if not timed:
            return any(row["op"] == f"failed_{entry.op}" for row in own)
        caches = {cache_of(row) for row in timed}
        names = {row.get("provider") for row in own}
        return set(self.plan.caches) <= caches and set(self.plan.providers) <= names
