"""Times one entry of the registry: verify all, drop those that are wrong or slow, interleave.

A provider that raises, is wrong, or takes too long is a row of its own (``failed_OP``,
``dropped_OP``) and takes no further part; the others are timed.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import torch

from .assembly import assembled
from .ceilings import peak_bytes
from .graphs import captured
from .limits import NO_TIME, Limits, SpoiltContext
from .machine import Recorder, gpu_state
from .registry import OURS, Entry, Problem, Setting
from .results import result
from .statistics import quantiles
from .timing import ColdCpuClock, GpuClock, cpu_clock, interleaved

Way = Callable[[], object]
T = TypeVar("T")
# what is timed at least, however slow it is
FEWEST_ROUNDS = 3
# behind the name of a provider: its bare kernel
KERNEL = " kernel"


class Measurement:
    """One entry in one setting, and what became of each of its providers.

    Parameters
    ----------
    entry : Entry
    setting : Setting
    recorder : Recorder
    best : dict of float
        What :func:`ceilings.roofline` gave.
    limits : Limits
    skipped : collection of str
        Providers that have failed in an earlier process and are not called again.
    chosen : collection of str, optional
        Other providers than ours that take part; default: all.
    caches : sequence of str
        ``"cold"``, ``"warm"`` or both; default: both on a GPU, warm on a CPU.
    watch : callable
        Hears what is done next and with which provider ("" for all), before it is done.
    failing : callable
        Hears which provider has failed, once its row is written.
    """

    def __init__(
        self,
        entry: Entry,
        setting: Setting,
        recorder: Recorder,
        best: dict[str, float],
        *,
        limits: Limits | None = None,
        skipped: Collection[str] = (),
        chosen: Collection[str] | None = None,
        caches: Sequence[str] = (),
        watch: Callable[[str, str], None] = lambda doing, provider: None,
        failing: Callable[[str], None] = lambda provider: None,
    ) -> None:
        self.entry, self.setting, self.recorder, self.best = entry, setting, recorder, best
        self.limits, self.skipped = limits or Limits(), skipped
        self.chosen, self.caches = chosen, caches
        self.watch, self.failing = watch, failing
        self.failed: list[str] = []
        self.errors: dict[str, float] = {}
        self.ways: dict[str, Way] = {}
        self.ceilings: frozenset[str] = frozenset()
        self.kernels: dict[str, str] = {}

    def run(self, rounds: int | None = None) -> list[str]:
        """Verify and time; rows are kept on the way. Returns the providers that failed."""
        self.watch("building", "")
        problem, reasons = assembled(self.entry, self.setting)
        for name, reason in reasons.items():
            if self._takes(name):
                self._note("skipped", name, reason)
        self.ceilings = frozenset(problem.ceilings)
        self.kernels = {name + KERNEL: name for name in problem.kernels}
        kernels = {name + KERNEL: way for name, way in problem.kernels.items()}
        for name, way in {**problem.providers, **problem.ceilings, **kernels}.items():
            if not self._takes(name):
                continue
            if self.limits.spent:
                self._note("dropped", name, NO_TIME)
            elif name not in self.skipped:
                self._verify(problem, name, way)
        slowest = self._drop_slow()
        if not self.ways:
            return self.failed
        count = rounds or self.entry.rounds
        if slowest and math.isfinite(self.limits.call_s):
            count = min(count, max(FEWEST_ROUNDS, int(self.limits.call_s / slowest)))
        peaks = self._each("measuring memory", lambda way: peak_bytes(way, self.setting.device))
        how = "call" if self.setting.on_gpu else None
        self._time(problem, self.ways, count, peaks, how)
        if self.limits.graphs and self.setting.on_gpu and not self.limits.spent:
            self._time(problem, self._captured(), count, {}, "graph")
        return self.failed

    def _takes(self, name: str) -> bool:
        chosen = self.chosen
        return chosen is None or name in {*chosen, *self.ceilings} or name.startswith(OURS)

    def _verify(self, problem: Problem, name: str, way: Way) -> None:
        """Call a provider for the first time; one that raises or is wrong is a row."""
        self.watch("verifying", name)
        try:
            answer = way()
            self._finish()
            if name not in self.ceilings:
                self.errors[name] = problem.error(self.kernels.get(name, name), answer)
        except Exception as failure:
            note = f"{type(failure).__name__}: {failure}"
            if isinstance(failure, ImportError) and not name.startswith(OURS):
                self._note("skipped", name, note)
            else:
                self._fail(name, note)
            return
        if name not in self.ceilings and not self.errors[name] <= problem.limit:
            self._fail(name, f"wrong by {self.errors[name]:.2g}, allowed are {problem.limit:.2g}")
        else:
            self.ways[name] = way

    def _fail(self, name: str, note: str) -> None:
        self.failed.append(name)
        self._note("failed", name, note)
        self.failing(name)
        if self.setting.on_gpu:
            try:
                self._finish()
                torch.cuda.empty_cache()
            except Exception as failure:
                raise SpoiltContext from failure

    def _note(self, kind: str, name: str, note: str, **fields: Any) -> None:
        names = {"op": f"{kind}_{self.entry.op}", "case": self.entry.case, "provider": name}
        dtype = self.entry.precision_in(self.setting)
        self.recorder.row(**names, dtype=dtype, note=note[:500], **fields)

    def _drop_slow(self) -> float:
        """Leave out who is far too slow; returns the seconds of the slowest who stays."""
        if not (math.isfinite(self.limits.call_s) or math.isfinite(self.limits.factor)):
            return 0.0
        seconds = self._each("probing", self._clock(cold=False))
        others = {*self.ceilings, *self.kernels}
        fastest = min((s for n, s in seconds.items() if n not in others), default=0.0)
        for name, taken in seconds.items():
            slower = taken / max(fastest, 1e-9)
            too_long = taken > self.limits.call_s
            if too_long or (slower > self.limits.factor and name != OURS):
                del self.ways[name]
                note = f"one call takes {taken:.3g} s, {slower:.3g} times the fastest"
                self._note("dropped", name, note, ms_once=taken * 1e3)
        return max((seconds[name] for name in self.ways), default=0.0)

    def _each(self, doing: str, ask: Callable[[Way], T]) -> dict[str, T]:
        """An answer for every provider; one that raises is left out from now on."""
        answers = {}
        for name, way in [*self.ways.items()]:
            self.watch(doing, name)
            try:
                answers[name] = ask(way)
            except Exception as failure:
                del self.ways[name]
                self._fail(name, f"{type(failure).__name__}: {failure}")
        return answers

    def _captured(self) -> dict[str, Way]:
        """Replays of the providers that a CUDA graph can hold."""
        replays: dict[str, Way] = {}
        for name, way in self.ways.items():
            if name in self.kernels:
                continue
            self.watch("capturing", name)
            try:
                replays[name] = captured(way)
                self._finish()
            except Exception as failure:
                self._note("dropped", name, f"no graph: {type(failure).__name__}: {failure}")
                try:
                    self._finish()
                except Exception as spoilt:
                    raise SpoiltContext from spoilt
        return replays

    def _time(
        self,
        problem: Problem,
        ways: dict[str, Way],
        rounds: int,
        peaks: dict[str, int | None],
        how: str | None,
    ) -> None:
        if not ways:
            return
        on_gpu = self.setting.on_gpu
        for done, cache in enumerate(self.caches or (("cold", "warm") if on_gpu else (None,))):
            if done and self.limits.spent:
                return
            before = gpu_state() if on_gpu else {}
            # drawn anew, so that no two cases or runs share what is left of the order in a median
            seed = secrets.randbits(32)
            seconds = self._interleaved(ways, rounds, cold=cache == "cold", seed=seed)
            self.watch("summing up", "")
            after = gpu_state() if on_gpu else {}
            for name, times in seconds.items():
                if name in self.kernels:
                    continue
                extra: dict[str, Any] = {
                    "error": self.errors.get(name),
                    "ceiling": name in self.ceilings,
                    "dtype": self.entry.precision_in(self.setting),
                    "order_seed": seed,
                }
                if peaks:
                    peak = peaks[name]
                    extra["peak_mb"] = None if peak is None else peak / 1e6
                if name + KERNEL in seconds:
                    extra |= quantiles(seconds[name + KERNEL], "ms_kernel")
                if cache is not None:
                    extra["cache"] = cache
                if on_gpu:
                    extra["way"] = how
                    extra |= {"gpu_before": before, "gpu_after": after}
                rival = problem.against.get(name, OURS)
                if rival != OURS:
                    extra["against"] = rival
                row = result(problem, times, seconds.get(rival), self.best)
                names = {"op": self.entry.op, "case": self.entry.case, "provider": name}
                self.recorder.row(**names, **problem.facts, **row, **extra)

    def _interleaved(
        self, ways: dict[str, Way], rounds: int, *, cold: bool, seed: int
    ) -> dict[str, list[float]]:
        """Times of all; one that raises is left out, and the others begin again."""
        now = ""

        def watch(name: str) -> None:
            nonlocal now
            now = name
            self.watch("timing", name)

        while ways:
            try:
                return interleaved(
                    ways,
                    rounds=rounds,
                    clock=self._clock(cold=cold),
                    deadline=self.limits.deadline,
                    watch=watch,
                    seed=seed,
                )
            except Exception as failure:
                del ways[now]
                self._fail(now, f"{type(failure).__name__}: {failure}")
        return {}

    def _clock(self, *, cold: bool) -> Callable[[Way], float]:
        if self.setting.on_gpu:
            return GpuClock(self.setting.device, cold=cold)
        return ColdCpuClock() if cold else cpu_clock

    def _finish(self) -> None:
        if self.setting.on_gpu:
            torch.cuda.synchronize(self.setting.device)
