"""Race of the candidates of each Triton kernel: verify, then time them interleaved.

An entry of the registry is called once to learn which choices it makes
(``kernels/tables``); then each candidate is forced in turn. One that raises or is wrong is a
row ``failed_race`` and takes no further part; the others are rows ``race``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NoReturn

import numpy as np
import torch

from fastbrain.bench.graphs import captured
from fastbrain.bench.machine import Recorder
from fastbrain.bench.registry import OURS, Entry, Problem, Setting
from fastbrain.bench.statistics import quantiles
from fastbrain.bench.timing import GpuClock, cpu_clock, interleaved
from fastbrain.kernels import tables
from fastbrain.ops.lora import triton as lora

Way = Callable[[], Any]


def every_width() -> None:
    """Race the kernels also for layers where PyTorch's products are expected to be faster."""
    lora.NARROW = lora.WIDEST


class Race:
    """The choices of one entry in one setting.

    Parameters
    ----------
    entry : Entry
    setting : Setting
    recorder : Recorder
    deadline : float
        Seconds since the epoch after which no round begins.
    rounds : int
    watch : callable
        Hears what is done next and with which candidate ("" for none), before it is done.
    failing : callable
        Hears which candidate has failed, once its row is written; it need not return.
    skipped : callable
        Whether a candidate of this name has failed in an earlier process.
    """

    def __init__(
        self,
        entry: Entry,
        setting: Setting,
        recorder: Recorder,
        *,
        deadline: float,
        rounds: int,
        watch: Callable[[str, str], None],
        failing: Callable[[str], None] | Callable[[str], NoReturn],
        skipped: Callable[[str], bool],
    ) -> None:
        self.entry, self.setting, self.recorder = entry, setting, recorder
        self.deadline, self.rounds = deadline, rounds
        self.watch, self.failing, self.skipped = watch, failing, skipped
        # the winners so far, which run while other choices are raced
        self.fastest: dict[tables.Question, str] = {}

    def run(self) -> None:
        """Race every choice that the entry makes; the others take what they would take."""
        self.watch("building", "")
        problem = self.entry.build(self.setting)
        name = f"{OURS}-triton" if self.setting.on_gpu else OURS
        if name not in problem.providers:
            return
        provider = problem.providers[name]
        # our own choice asks which backend is to run, a backend how: the latter are raced first, so
        # that backends compete with their fastest candidates
        for way, of_backends in ((provider, False), (problem.providers[OURS], True)):
            with tables.asked() as log:
                way()
            for question in {(q.kernel, q.shape): q for q in log}.values():
                is_backend = question.kernel.endswith("_backend")
                if len(question.candidates) > 1 and is_backend == of_backends:
                    self._race(question, problem, way)

    def _race(self, question: tables.Question, problem: Problem, provider: Way) -> None:
        ways: dict[str, Way] = {}
        for candidate in question.candidates:
            name = f"{question.kernel} {candidate.name} for {question.shape}"
            if self.skipped(name):
                continue
            self.watch("verifying", name)
            way = _forced({**self.fastest, question: candidate.name}, provider)
            try:
                error = problem.error(OURS, way())
                good = error <= problem.limit
                note = f"wrong by {error:.2g}, allowed are {problem.limit:.2g}"
                if good and self.setting.on_gpu:
                    way = captured(way) if self.entry.graph else way
                    torch.cuda.synchronize()
            except Exception as failure:
                good, note = False, f"{type(failure).__name__}: {failure}"
            if good:
                ways[name] = way
            else:
                self._row("failed_race", name, note=note[:500])
                self.failing(name)
        if not ways:
            return
        clock = GpuClock(self.setting.device, cold=True) if self.setting.on_gpu else cpu_clock
        seconds = interleaved(
            ways,
            rounds=self.rounds,
            clock=clock,
            deadline=self.deadline,
            watch=lambda name: self.watch("timing", name),
        )
        for name, times in seconds.items():
            kernel, candidate = name.split(" ", 2)[:2]
            about = {"kernel": kernel, "shape": question.shape, "candidate": candidate}
            self._row("race", name, **about, **quantiles(times), rounds=len(times), **problem.facts)
        best = min(seconds, key=lambda name: float(np.median(seconds[name])), default="")
        if best:
            self.fastest[question] = best.split(" ", 2)[1]

    def _row(self, op: str, name: str, **fields: Any) -> None:
        dtype = self.entry.precision_in(self.setting)
        self.recorder.row(op=op, case=self.entry.id, provider=name, dtype=dtype, **fields)


def _forced(names: dict[tables.Question, str], provider: Way) -> Way:
    def way() -> Any:
        with ExitStack() as stack:
            for question, name in names.items():
                stack.enter_context(tables.forced(question.kernel, name, question.shape))
            return provider()

    return way
