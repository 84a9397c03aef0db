"""The GPU suite, tried where there is no GPU: what fails is a row, and everything else goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SOME_FAILED = 3
# what a machine that is lent for ten minutes need not have
ABSENT = ("faiss", "nibabel", "nilearn", "tyro", "vector_quantize_pytorch")
WITHOUT = f"""
import importlib.machinery
find = importlib.machinery.PathFinder.find_spec
def without(name, path=None, target=None):
    return None if name.split(".")[0] in {ABSENT} else find(name, path, target)
importlib.machinery.PathFinder.find_spec = staticmethod(without)
"""


@pytest.fixture
def bare(tmp_path) -> dict[str, str]:
    """The environment of a machine without git and without the packages of ABSENT."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(WITHOUT)
    (tmp_path / "bin").mkdir()
    for tool in ("bash", "dirname", "env"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    return {
        **os.environ,
        "PATH": str(tmp_path / "bin"),
        "PYTHONPATH": str(tmp_path / "site"),
        "PYTHON": sys.executable,
        "OUT": str(tmp_path / "out"),
        "OMP_NUM_THREADS": "1",
    }


def run_suite(environment: dict[str, str], *options: str) -> tuple[int, str, list[dict[str, Any]]]:
    """Exit code, what was printed, and the rows that were kept."""
    ran = subprocess.run(
        [environment["PYTHON"], FOLDER / "gpu_suite.py", "--smoke", "--machine", "bare", *options]
        if "--families" in options
        else ["bash", FOLDER / "gpu_suite.sh", "--smoke", "--machine", "bare", *options],
        env=environment,
        capture_output=True,
        text=True,
    )
    [path] = Path(environment["OUT"]).glob("bare/*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return ran.returncode, ran.stdout + ran.stderr, rows


@pytest.mark.slow
def test_the_whole_suite_runs_without_half_of_the_packages_and_with_providers_that_go_wrong(bare):
    # enough for a machine that does much else meanwhile
    code, text, rows = run_suite(bare, "--smoke-faults", "--budget-s", "3000")
    assert code == SOME_FAILED
    assert {row["op"] for row in rows} >= {
        "selftest_vq_lookup",
        "selftest_lora_linear",
        "sanitizer",
        "fault",
        "tokenize_voxels",
        "neighborhood_clustering",
        "vq_lookup",
        "lora_linear",
        "decode",
        "generate",
    }
    failed = [row for row in rows if row["op"].startswith("failed_")]
    assert {row["op"] for row in failed} == {"failed_fault"}, failed
    assert "no time for: nothing left out" in text
    notes = {row["provider"]: row["note"] for row in rows if row["op"] == "failed_fault"}
    assert set(notes) == {"fails", "wrong", "hangs", "dies"}
    assert "RuntimeError: this provider fails on purpose" in notes["fails"]
    assert "wrong by 1" in notes["wrong"]
    assert "hangs: nothing for 4 s" in notes["hangs"]
    assert "killed by SIGKILL while verifying" in notes["dies"]
    # each of them once, though later workers began the entry again
    assert sum(row["op"] == "failed_fault" for row in rows) == len(notes)
    [dropped] = [row for row in rows if row["op"] == "dropped_fault"]
    assert dropped["provider"] == "slow"
    timed = {row["provider"] for row in rows if row["op"] == "fault"}
    assert timed == {"fastbrain", "right"}
    [summary] = [line for line in text.splitlines() if line.startswith("failed: ")]
    assert all(f"|{name}" in summary for name in notes)
    # sources are named though git is not there
    assert {row["env"]["commit"][:6] for row in rows if "commit" in row["env"]} == {"files-"}


@pytest.mark.slow
def test_a_race_writes_a_table_that_the_kernels_read(bare):
    tables = pytest.importorskip("fastbrain.kernels.tables", reason="triton is not installed")
    code, text, rows = run_suite(bare, "--race", "--families", "lora")
    assert code == 0, text
    raced = {row["candidate"] for row in rows if row["op"] == "race"}
    assert {"apart", "joined"} < raced
    choices = tables.read(Path(bare["OUT"]) / "tables" / "interpreter.json")
    [(shape, name)] = choices["lora_wide"].items()
    assert name in raced
    assert shape.startswith("float32 rows 17+")


def test_the_fastest_candidate_that_never_failed_is_named(monkeypatch, tmp_path):
    tables = pytest.importorskip("fastbrain.kernels.tables", reason="triton is not installed")
    monkeypatch.syspath_prepend(str(FOLDER))
    import gpu_suite
    import race_table

    table = race_table.RaceTable(tmp_path / "tables" / "a-gpu.json", "A GPU")
    medians = {"small": {"a": 1.0, "b": 3.0, "c": 0.5}, "large": {"a": 9.0, "b": 3.5}}
    for case, candidates in medians.items():
        for name, ms in candidates.items():
            kind = {"op": "race", "case": case, "kernel": "sums", "shape": "float32"}
            table.add({**kind, "candidate": name, "ms_p50": ms, "env": {"date": "1"}})
    table.add({"op": "failed_race", "case": "large", "provider": "sums c"})
    table.write()
    # a is 2 and 2.57 times slower than the fastest of each case, b is 6 and 1 times
    assert tables.read(table.path) == {"sums": {"float32": "a"}}
    assert race_table.FORMAT == tables.FORMAT
    assert gpu_suite.slug("NVIDIA H200 (MIG)") == tables.slug("NVIDIA H200 (MIG)")


@pytest.fixture
def suite(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import isolated
    import worker

    return SimpleNamespace(isolated=isolated, worker=worker)


def test_a_peer_that_is_missing_is_a_row(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import gpu_suite
    import report

    rows = []
    monkeypatch.setattr(gpu_suite, "PEERS", ("torch", "no-such-peer"))
    gpu_suite.record_peers(SimpleNamespace(row=lambda **row: rows.append(row)))
    assert [row["note"] for row in rows] == [metadata.version("torch"), "skipped: not installed"]
    # they are facts about the run, not a table
    kept = [{**row, "env": {"threads": 1}, "machine": "here"} for row in rows]
    monkeypatch.setattr(report, "latest", lambda _machine: kept)
    assert "peer" not in report.report()


def test_every_checked_family_and_every_kernel_of_the_sanitizer_has_cases(suite):
    import gpu_suite

    from fastbrain.ops import _cases, _dispatch

    modules = {family: getattr(_cases, family) for family in gpu_suite.CHECKED}
    assert set(gpu_suite.CHECKED) == set(suite.worker.TELLING)
    for family, names in suite.worker.TELLING.items():
        assert set(names) <= {case.name for case in modules[family].CASES}
        built = {
            backend.name
            for case in modules[family].CASES
            for backend in _dispatch.operation_of(case.op).backends
        }
        assert built - {"cpu", "reference"} == set(gpu_suite.CHECKED[family])


# after so long without a word a worker hangs; one that ends takes a part of it on a busy machine
LIMIT_S = 2
WORKER = (
    f"LIMIT_S = {LIMIT_S}"
    + """
import argparse, json, os, signal, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--events"); parser.add_argument("--skip", type=json.loads)
arguments = parser.parse_args()
events = open(arguments.events, "a")
def send(**event):
    events.write(json.dumps(event) + "\\n"); events.flush()
def act(name):
    if name == "exits": sys.stderr.write("a last word\\n"); sys.exit(5)
    if name == "spoilt": send(done=[name], failed=[name]); os._exit(86)
    if name == "segfault": os.kill(os.getpid(), signal.SIGSEGV)
    if name == "stuck": time.sleep(60)
for name in ("first", "exits", "spoilt", "segfault", "stuck", "last"):
    if name in arguments.skip: continue
    send(at=name, doing="trying", limit_s=LIMIT_S, row_of={"op": "x", "case": name})
    act(name)
    send(done=[name], row={"op": "x", "case": name, "env": {"threads": 7}})
"""
)


def test_a_worker_that_ends_early_is_followed_by_another(suite, tmp_path):
    from time import time

    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    job = suite.isolated.Job("job", (sys.executable, str(script)), time() + 60)
    rows = []
    outcome = suite.isolated.supervise(job, rows.append)
    assert [row["case"] for row in rows if row["op"] == "x"] == ["first", "last"]
    notes = {row["case"]: row["note"] for row in rows if row["op"] == "failed_x"}
    assert notes["exits"] == "exit code 5: a last word while trying"
    assert notes["segfault"] == "killed by SIGSEGV while trying"
    assert notes["stuck"] == f"hangs: nothing for {LIMIT_S} s while trying"
    assert len(outcome.failed) == 4
    # what the machine is was known from the row before
    assert all(row["env"] == {"threads": 7} for row in rows if row["case"] == "first")


def test_a_worker_that_cannot_start_is_a_row_and_no_second_try(suite):
    from time import time

    job = suite.isolated.Job(
        "job", (sys.executable, "-c", "import no_such_module"), time() + 60, row={"op": "vq"}
    )
    rows = []
    outcome = suite.isolated.supervise(job, rows.append)
    [row] = rows
    assert row["op"] == "failed_vq"
    assert "No module named" in row["note"]
    assert row["note"].endswith("while starting")
    assert len(outcome.failed) == 1


def test_a_worker_does_not_outlive_the_suite(tmp_path):
    """The suite may be killed itself, at the end of a lease."""
    import signal
    from time import sleep, time

    inner = (
        "import sys, os, time; from isolated import die_with_parent; die_with_parent(); "
        "open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    )
    outer = (
        "import subprocess, sys; "
        "subprocess.Popen([sys.executable, '-c', *sys.argv[1:]], start_new_session=True).wait()"
    )
    path = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", outer, inner, str(path)], cwd=FOLDER)
    deadline = time() + 60
    while not (path.exists() and path.read_text()) and time() < deadline:
        sleep(0.05)
    worker = int(path.read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while time() < deadline and _runs(worker):
        sleep(0.05)
    assert not _runs(worker)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_worker_is_stopped_at_its_deadline(suite):
    from time import time

    job = suite.isolated.Job("job", (sys.executable, "-c", "import time; time.sleep(60)"), time())
    rows = []
    outcome = suite.isolated.supervise(job, rows.append)
    assert [row["note"] for row in rows] == ["no time left while starting"]
    assert outcome.failed == []
    assert outcome.left == ["job after its start"]
