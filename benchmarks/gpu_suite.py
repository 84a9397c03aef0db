"""The GPU suite: build, self-test, compute-sanitizer, then every family, in processes of their own.

    python benchmarks/gpu_suite.py [--machine NAME] [--budget-s 540] [--families vq lora ...]
        [--only-selftest | --skip-selftest | --race] [--skip-build] [--smoke]

Nothing that fails here stops what comes after it: a provider that raises, is wrong, hangs, crashes
or is killed is a row ``failed_OP`` with the reason. ``--smoke`` runs the whole of it on the CPU
with two rounds of one small case a family, to try the suite itself.

``--race`` times the candidates of each Triton kernel instead, and writes the fastest ones to
``${OUT:-kernels}/tables/GPU.json``; ``--smoke --race`` does so in Triton's interpreter, and writes
only below OUT.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import time
from typing import Any

from isolated import UNSOUND, Job, Outcome, supervise
from race_table import RaceTable
from rows import Book

HERE = Path(__file__).parent
# families of the registry, in the order in which they run
FAMILIES = ("voxel_tokenizer", "neighborhood", "vq", "lora", "decode", "parcels", "brainllm")
# exit code where anything failed; a suite that itself breaks ends with another one
SOME_FAILED = 3
# distributions that entries are timed against where they are installed
PEERS = ("peft", "vector-quantize-pytorch")
# families with cases in fastbrain.ops, each with the backends that run on a GPU, and in how many
# processes Triton's many specialisations are compiled
CHECKED = {
    "voxel_tokenizer": {"cuda": 1, "triton": 3},
    "lora": {"cuda": 1, "triton": 4},
    "neighborhood": {"cuda": 1, "triton": 2},
    "vq": {"cuda": 1, "triton": 3},
}
# families whose Triton kernels have candidates to race
RACED = tuple(family for family, backends in CHECKED.items() if "triton" in backends)
BUILD_S, CHECK_S, SANITIZER_S = 240.0, 150.0, 100.0
# a worker may be so late, so that the call it is in is not lost
GRACE_S = 10.0
SANITIZERS = ("memcheck", "racecheck")


class Suite:
    """A run of the suite: where its rows go, until when it may run, and what became of it."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.device = "cpu" if arguments.smoke else "cuda"
        self.deadline = time() + arguments.budget_s
        self.outcome = Outcome()
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self.book = Book(arguments.machine, now[:10])
        self.environment = {"threads": None, "python": platform.python_version(), "date": now}

    def row(self, **fields: Any) -> None:
        """A row of the suite itself, which has no torch to ask for the machine."""
        self.book.write({**fields, "env": self.environment})

    def run(self) -> Outcome:
        """All that is asked for, the cheapest certainty first."""
        record_peers(self)
        arguments = self.arguments
        if not (arguments.skip_build or arguments.smoke) and not self.build():
            return self.outcome
        if arguments.race:
            self.races()
            return self.outcome
        if not arguments.skip_selftest:
            self.together(self.checks())
            self.sanitize()
        if not arguments.only_selftest:
            self.families()
        return self.outcome

    def build(self) -> bool:
        """Build the extension for this GPU; whether it is there now."""
        capability = ask_gpu("compute_cap") or "9.0"
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-build-isolation"]
        command += ["--no-deps", "-e", str(HERE.parent), "-C"]
        command += [f"cmake.define.CMAKE_CUDA_ARCHITECTURES={capability.replace('.', '')}"]
        start = time()
        note = run(command, BUILD_S)
        about = {"case": f"sm_{capability.replace('.', '')}", "provider": "nvcc"}
        if note is None:
            self.row(op="build", **about, seconds=time() - start)
        else:
            self.row(op="failed_build", **about, note=note)
            self.outcome.failed.append("build")
        return note is None

    def checks(self) -> list[Job]:
        """The self-test: each family and backend, and each share of a large one, on its own.

        They run at once: nothing is timed yet, and compiling is most of the work.
        """
        jobs = []
        for family, backends in CHECKED.items():
            # the smoke test asks one backend that every machine has, and few cases
            asked = {"cpu": 1} if self.arguments.smoke else backends
            for backend, shares in asked.items():
                for share in range(shares):
                    jobs.append(self.check(family, backend, f"{share}/{shares}"))
        return jobs

    def check(self, family: str, backend: str, share: str) -> Job:
        """Cases of one family on one backend."""
        options = ["--backend", backend, "--share", share]
        options += ["--telling"] if self.arguments.smoke else []
        about = {"op": "selftest", "case": family, "provider": backend}
        return self.job(f"selftest {family} {backend} {share}", "check", family, options, about)

    def sanitize(self) -> None:
        """compute-sanitizer on one case a kernel, where it is installed and takes this GPU."""
        tool = shutil.which("compute-sanitizer")
        reason = "no GPU" if self.arguments.smoke else "not installed"
        if tool is not None and not self.arguments.smoke:
            probe = "import torch; torch.zeros(1, device='cuda').add_(1); torch.cuda.synchronize()"
            reason = run([tool, sys.executable, "-c", probe], SANITIZER_S)
        if tool is None or reason is not None:
            about = {"op": "sanitizer", "case": "", "provider": "compute-sanitizer"}
            self.row(**about, note=f"skipped: {reason}")
            return
        jobs = []
        for kind in SANITIZERS:
            prefix = (tool, "--tool", kind, "--error-exitcode", str(UNSOUND))
            for family, backends in CHECKED.items():
                for backend in backends:
                    options = ["--telling", "--backend", backend, "--label", f"sanitizer_{kind}"]
                    about = {"op": f"sanitizer_{kind}", "case": family, "provider": backend}
                    name = f"{kind} {family} {backend}"
                    jobs.append(self.job(name, "check", family, options, about, prefix))
        self.together(jobs)

    def families(self) -> None:
        """Time the families one after another, nothing else beside them."""
        due = list(self.arguments.families)
        if self.arguments.smoke_faults:
            due.insert(0, "faults")
        for index, family in enumerate(due):
            # what is left is shared by the families that are left
            share = (self.deadline - GRACE_S - time()) / (len(due) - index)
            if share <= 0:
                self.outcome.left.append(family)
                continue
            deadline = time() + share
            about = {"op": family, "case": "", "provider": ""}
            job = self.job(family, "time", family, ["--deadline", str(deadline)], about)
            # a worker that looks at its deadline in time is not stopped
            self.outcome.add(supervise(replace(job, deadline=deadline + GRACE_S), self.book.write))

    def races(self) -> None:
        """Race the kernels of a family after the other; the table is kept after each."""
        below = Path(os.environ.get("OUT") or HERE.parent / "kernels") / "tables"
        gpu = "interpreter" if self.arguments.smoke else ask_gpu("name") or "cuda"
        kept = bool(os.environ.get("OUT")) or not self.arguments.smoke
        table = RaceTable(below / f"{slug(gpu)}.json" if kept else None, gpu)

        def write(row: dict[str, Any]) -> None:
            self.book.write(row)
            table.add(row)

        due = [family for family in self.arguments.families if family in RACED]
        for index, family in enumerate(due):
            share = (self.deadline - GRACE_S - time()) / (len(due) - index)
            if share <= 0:
                self.outcome.left.append(family)
                continue
            deadline = time() + share
            about = {"op": "race", "case": family, "provider": ""}
            job = self.job(family, "race", family, ["--deadline", str(deadline)], about)
            self.outcome.add(supervise(replace(job, deadline=deadline + GRACE_S), write))
            table.write()
        print(f"table: {table.path or 'kept nowhere'}")

    def job(
        self,
        name: str,
        what: str,
        family: str,
        options: list[str],
        about: dict[str, Any],
        prefix: tuple[str, ...] = (),
    ) -> Job:
        """A worker's command; ``prefix`` is what runs it."""
        command = [*prefix, sys.executable, str(HERE / "worker.py"), what, "--family", family]
        command += ["--device", self.device, *options]
        command += ["--smoke"] if self.arguments.smoke else []
        environment = {}
        if what == "check":
            # many at once; and every allocation its own, so that a read beyond one is seen
            environment = {"OMP_NUM_THREADS": "1"}
            environment |= {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"} if prefix else {}
        if what == "race" and self.arguments.smoke:
            environment = {"TRITON_INTERPRET": "1"}
        limit = SANITIZER_S if prefix else CHECK_S
        deadline = min(self.deadline, time() + limit)
        return Job(name, tuple(command), deadline, row=about, environment=environment)

    def together(self, jobs: list[Job]) -> None:
        """Run jobs at once, as many as there are cores."""
        with ThreadPoolExecutor(max(1, min(len(jobs), os.cpu_count() or 1))) as pool:
            for outcome in pool.map(lambda job: supervise(job, self.book.write), jobs):
                self.outcome.add(outcome)


def run(command: list[str], limit_s: float) -> str | None:
    """Run a command; None, or why it failed."""
    try:
        ran = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit_s,
        )
    except (OSError, subprocess.TimeoutExpired) as failure:
        return str(failure)[-500:]
    output = ran.stdout.decode(errors="replace").strip()
    return None if ran.returncode == 0 else f"exit code {ran.returncode}: {output[-500:]}"


def slug(name: str) -> str:
    """A name in lower case with hyphens, as ``kernels/tables`` has it."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def ask_gpu(what: str) -> str | None:
    """A property of the first GPU as nvidia-smi says it."""
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = ran.stdout.strip().splitlines()
    return lines[0].strip() if ran.returncode == 0 and lines else None


def record_peers(recorder: Any) -> None:
    """A row for each peer: its version, or that its comparisons are skipped."""
    for name in PEERS:
        try:
            note = version(name)
        except PackageNotFoundError:
            note = "skipped: not installed"
        recorder.row(op="peer", case=name, provider=name, note=note)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machine", help="folder of the rows; default: the name of the GPU")
    shown = "to time or to race; the self-test checks all"
    every = list(FAMILIES)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=every, help=shown)
    parser.add_argument("--budget-s", type=float, default=540.0, help="for all of it; default 540")
    parser.add_argument("--skip-build", action="store_true", help="use what is installed")
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--only-selftest", action="store_true", help="check, time nothing")
    some.add_argument("--skip-selftest", action="store_true", help="time, check nothing before")
    some.add_argument("--race", action="store_true", help="time candidates, write the GPU's table")
    parser.add_argument("--smoke", action="store_true", help="on the CPU, to try the suite itself")
    parser.add_argument("--smoke-faults", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.race and not set(arguments.families) & set(RACED):
        parser.error(f"--race needs one of the families {', '.join(RACED)}")
    if arguments.machine is None and not arguments.smoke:
        arguments.machine = slug(ask_gpu("name") or "cuda")
    return arguments


def main() -> None:
    """Run what the budget allows; the exit code says whether anything failed."""
    start = time()
    suite = Suite(options())
    outcome = suite.run()
    kept = suite.book.path or "nowhere: no --machine"
    print(f"{outcome.rows} rows of workers in {time() - start:.0f} s, kept in {kept}")
    print(f"no time for: {', '.join(outcome.left) or 'nothing left out'}")
    print(f"failed: {', '.join(outcome.failed) or 'none'}", flush=True)
    raise SystemExit(SOME_FAILED if outcome.failed else 0)


if __name__ == "__main__":
    main()
