"""The part of the GPU suite that may crash: one family, in a process that isolated.py watches.

    python benchmarks/worker.py time --family vq --events FILE
    python benchmarks/worker.py check --family vq --backend triton --events FILE
    python benchmarks/worker.py race --family vq --events FILE

Every step is announced before it is taken, so that the supervisor knows what ended it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from importlib import import_module
from pathlib import Path
from time import time
from typing import Any

import torch
from isolated import SPOILT, die_with_parent
from racing import Race, every_width

from fastbrain.bench.ceilings import record_roofline
from fastbrain.bench.limits import Limits, SpoiltContext
from fastbrain.bench.machine import Recorder, no_tf32
from fastbrain.bench.measuring import Measurement
from fastbrain.bench.registry import Entry, Setting, entries
from fastbrain.ops._selftest import Unit, judge, units

# cases that a smoke test times: the cheapest of each family
SMOKE = {"native", "M64-768x768-r8", "B36-N2000-D2048", "64x8192x256", "tiny", "faults"}
HALF = {"neighborhood": torch.float16}
# cases that reach every kernel of a family and backend, for compute-sanitizer
TELLING = {
    "voxel_tokenizer": ("eight", "packed"),
    "neighborhood": ("paper", "dance-wide"),
    "vq": ("euclidean", "few-rows", "plain"),
    "lora": ("gelu", "decode-many"),
}
CALL_S, FACTOR = 2.0, 20.0
# a self-test case compiles a few kernels
CASE_S = 90.0
# what is no call of a provider: building a problem, writing rows, ending
STEP_S = 120.0


class Channel:
    """The file of events, and what runs next without those that ended an earlier process."""

    def __init__(self, path: Path, skip: list[str]) -> None:
        self._file = path.open("a")
        self.skip = frozenset(skip)

    def send(self, **event: Any) -> None:
        """Append an event; it is readable when this returns."""
        self._file.write(json.dumps(event) + "\n")
        self._file.flush()

    def at(self, unit: str, doing: str, limit_s: float, row_of: dict[str, Any]) -> None:
        """Announce what may end this process."""
        self.send(at=unit, doing=doing, limit_s=limit_s, row_of=row_of)


def settings(family: str, device: str) -> list[Setting]:
    """Half precision first: that is what people train in."""
    if device == "cpu" or all(entry.on_host for entry in entries(family)):
        return [Setting()]
    half = Setting(device, HALF.get(family, torch.bfloat16))
    return [half] if family == "decode" else [half, Setting(device)]


def chosen(family: str, setting: Setting, *, smoke: bool) -> list[Entry]:
    """The entries of a family; on a GPU those that only a GPU can run come first."""
    suited = [entry for entry in entries(family) if entry.suits(setting)]
    if smoke:
        suited = [entry for entry in suited if entry.case in SMOKE]
    return sorted(suited, key=lambda entry: not entry.gpu_only)


def time_family(arguments: argparse.Namespace, channel: Channel) -> None:
    """Time the entries of a family in every setting."""
    every = settings(arguments.family, arguments.device)
    recorder = Recorder(lambda row: channel.send(row=row), every[0].device)
    for setting in every:
        due = [
            entry
            for entry in chosen(arguments.family, setting, smoke=arguments.smoke)
            if _unit(entry, setting) not in channel.skip
        ]
        if not due:
            continue
        about = {"op": "roofline", "case": setting.precision, "provider": "torch"}
        channel.at(f"roofline|{setting.precision}", "measuring", 60.0, about)
        size = {"rounds": 2, "elements": 1 << 20} if arguments.smoke else {"rounds": 5}
        best = record_roofline(setting, recorder, **size)
        for entry in due:
            call_s = math.inf if arguments.smoke else CALL_S
            limits = Limits(call_s, FACTOR, arguments.deadline, entry.graph)
            if limits.spent:
                channel.send(left=[_unit(entry, setting)])
            else:
                _time_entry(entry, setting, recorder, best, limits, channel, arguments.smoke)
    channel.at("end", "ending", STEP_S, {"op": arguments.family, "case": "", "provider": ""})


def _time_entry(
    entry: Entry,
    setting: Setting,
    recorder: Recorder,
    best: dict[str, float],
    limits: Limits,
    channel: Channel,
    smoke: bool,
) -> None:
    unit = _unit(entry, setting)
    dtype = entry.precision_in(setting)

    def watch(doing: str, provider: str) -> None:
        at = f"{unit}|{provider}" if provider else unit
        about = {"op": entry.op, "case": entry.case, "provider": provider, "dtype": dtype}
        channel.at(at, doing, entry.limit_s if provider else STEP_S, about)

    def failing(provider: str) -> None:
        channel.send(done=[f"{unit}|{provider}"], failed=[f"{unit}|{provider}"])

    prefix = f"{unit}|"
    skipped = {name.removeprefix(prefix) for name in channel.skip if name.startswith(prefix)}
    measurement = Measurement(
        *(entry, setting, recorder, best),
        limits=limits,
        skipped=skipped,
        watch=watch,
        failing=failing,
    )
    spoilt = False
    try:
        measurement.run(2 if smoke else None)
        channel.send(done=[unit])
    except SpoiltContext:
        # without a provider that is left out next time, the same would happen again
        channel.send(done=[] if measurement.failed else [unit])
        spoilt = True
    except Exception as failure:
        # the problem itself could not be set up
        note = f"{type(failure).__name__}: {failure}"[:500]
        about = {"op": f"failed_{entry.op}", "case": entry.case, "provider": "", "dtype": dtype}
        recorder.row(**about, note=note)
        channel.send(failed=[unit], done=[unit])
        spoilt = setting.on_gpu and is_spoilt()
    if setting.on_gpu and not spoilt:
        del measurement
        torch.cuda.empty_cache()
    if spoilt:
        leave()


def check_family(arguments: argparse.Namespace, channel: Channel) -> None:
    """Run the self-test cases of a family on one backend, or a share of them."""
    recorder = Recorder(lambda row: channel.send(row=row), arguments.device)
    cases = import_module(f"fastbrain.ops._cases.{arguments.family}").CASES
    if arguments.telling:
        cases = [case for case in cases if case.name in TELLING[arguments.family]]
    share, shares = (int(part) for part in arguments.share.split("/"))
    backends = [arguments.backend] if arguments.backend else None
    prefix = arguments.label
    channel.at("listing", "listing cases", CASE_S, {"op": prefix, "case": arguments.family})
    for index, unit in enumerate(units(backends, device=arguments.device, cases=cases)):
        name = _name(unit)
        if index % shares != share or name in channel.skip:
            continue
        if arguments.telling and unit.dtype != _telling(unit):
            continue
        row_of = {"op": f"{prefix}_{unit.case.op}", "case": unit.case.name}
        row_of |= {"provider": unit.backend, "dtype": str(unit.dtype)[6:]}
        channel.at(name, "checking", CASE_S, row_of)
        row = judge(unit)
        recorder.row(**row_of, passed=row.passed, error=row.error, note=row.note[:500])
        channel.send(done=[name], failed=[] if row.passed else [name])
        if not row.passed and arguments.device != "cpu" and is_spoilt():
            leave()


def race_family(arguments: argparse.Namespace, channel: Channel) -> None:
    """Race the candidates of a family's kernels in every setting."""
    every_width()
    every = settings(arguments.family, arguments.device)
    recorder = Recorder(lambda row: channel.send(row=row), every[0].device)
    for setting in every:
        for entry in chosen(arguments.family, setting, smoke=arguments.smoke):
            unit = _unit(entry, setting)
            if unit in channel.skip:
                continue
            if time() > arguments.deadline:
                channel.send(left=[unit])
                continue
            _race_entry(entry, setting, recorder, channel, arguments)


def _race_entry(
    entry: Entry,
    setting: Setting,
    recorder: Recorder,
    channel: Channel,
    arguments: argparse.Namespace,
) -> None:
    unit = _unit(entry, setting)
    dtype = entry.precision_in(setting)

    def watch(doing: str, name: str) -> None:
        about = {"op": "race", "case": entry.id, "provider": name, "dtype": dtype}
        limit_s = CASE_S if name and not arguments.smoke else STEP_S
        channel.at(f"{unit}|{name}" if name else unit, doing, limit_s, about)

    def failing(name: str) -> None:
        channel.send(done=[f"{unit}|{name}"], failed=[f"{unit}|{name}"])
        if setting.on_gpu and is_spoilt():
            leave()

    race = Race(
        *(entry, setting, recorder),
        deadline=arguments.deadline,
        rounds=2 if arguments.smoke else entry.rounds,
        watch=watch,
        failing=failing,
        skipped=lambda name: f"{unit}|{name}" in channel.skip,
    )
    try:
        race.run()
        channel.send(done=[unit])
    except Exception as failure:
        # the problem itself could not be set up, or a candidate failed while it was timed
        note = f"{type(failure).__name__}: {failure}"[:500]
        recorder.row(op="failed_race", case=entry.id, provider="", dtype=dtype, note=note)
        channel.send(failed=[unit], done=[unit])
        if setting.on_gpu and is_spoilt():
            leave()
    if setting.on_gpu:
        del race
        torch.cuda.empty_cache()


def is_spoilt() -> bool:
    """Whether the GPU refuses to go on in this process."""
    try:
        torch.cuda.synchronize()
        torch.zeros(1, device="cuda").add_(1)
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def leave() -> None:
    """End at once, without destructors that would ask the GPU."""
    sys.stdout.flush()
    os._exit(SPOILT)


def _unit(entry: Entry, setting: Setting) -> str:
    return f"{entry.id}|{entry.precision_in(setting)}"


def _telling(unit: Unit) -> torch.dtype:
    """One precision reaches a kernel: the one that people train in, or what a CPU is fast in."""
    on_gpu = unit.device != "cpu"
    return torch.bfloat16 if on_gpu and torch.bfloat16 in unit.case.dtypes else torch.float32


def _name(unit: Unit) -> str:
    return f"{unit.case.id}|{unit.backend}|{str(unit.dtype)[6:]}"


def main() -> None:
    """Do one job."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("time", "check", "race"))
    parser.add_argument("--family", required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--deadline", type=float, default=math.inf)
    parser.add_argument("--backend", help="check this one; default: all")
    parser.add_argument("--share", default="0/1", help="of the cases: which/of how many")
    parser.add_argument("--label", default="selftest", help="of the rows of checks")
    parser.add_argument("--telling", action="store_true", help="one case for each kernel")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--events", type=Path, required=True)
    parser.add_argument("--skip", type=json.loads, default=[])
    arguments = parser.parse_args()
    die_with_parent()
    no_tf32()
    channel = Channel(arguments.events, arguments.skip)
    work = {"time": time_family, "check": check_family, "race": race_family}
    work[arguments.what](arguments, channel)


if __name__ == "__main__":
    main()
