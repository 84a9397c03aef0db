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
import torch

FOLDER = Path(__file__).parents[1] / "benchmarks"
SOME_FAILED = 3
# what a machine that is lent for ten minutes need not have
ABSENT = ("faiss", "nibabel", "nilearn", "tyro", "vector_quantize_pytorch")
WITHOUT = f"""
import importlib.machinery
find = importlib.machinery.PathFinder.find_spec
def without(name, path=None, target=None):
    return None if name.split(".")[0] in {ABSENT} else find(name, path, target)
importlib.machinery.PathFinder.find_spec = without
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


def test_providers_that_go_wrong_are_rows_and_the_others_are_timed(bare):
    code, text, rows = run_suite(bare, "--smoke-faults", "--skip-selftest", "--families")
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
    assert code == SOME_FAILED
    summary = text.strip().splitlines()[-1]
    assert summary.startswith("failed: ")
    assert all(f"|{name}" in summary for name in notes)
    # sources are named though git is not there
    assert {row["env"]["commit"][:6] for row in rows if "commit" in row["env"]} == {"files-"}


@pytest.mark.slow
def test_the_whole_suite_runs_where_half_of_the_packages_are_absent(bare):
    # enough for a machine that does much else meanwhile
    code, text, rows = run_suite(bare, "--smoke-faults", "--budget-s", "3000")
    ops = {row["op"] for row in rows}
    assert ops >= {
        "selftest_vq_lookup",
        "selftest_lora_linear",
        "sanitizer",
        "fault",
        "tokenize_voxels",
        "neighborhood_clustering",
        "vq_lookup",
        "lora_linear",
        "generate",
    }
    failed = [row for row in rows if row["op"].startswith("failed_")]
    assert {row["op"] for row in failed} == {"failed_fault"}, failed
    assert "no time for: nothing left out" in text
    assert code == SOME_FAILED


@pytest.fixture
def suite(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import isolated
    import measuring
    import registry
    import worker

    return SimpleNamespace(isolated=isolated, measuring=measuring, registry=registry, worker=worker)


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


def test_every_checked_family_and_every_kernel_of_the_sanitizer_has_cases(suite, monkeypatch):
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


WORKER = """
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
    send(at=name, doing="trying", limit_s=0.4, row_of={"op": "x", "case": name})
    act(name)
    send(done=[name], row={"op": "x", "case": name, "env": {"threads": 7}})
"""


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
    assert notes["stuck"] == "hangs: nothing for 0.4 s while trying"
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


def test_a_worker_is_stopped_at_its_deadline(suite):
    from time import time

    job = suite.isolated.Job("job", (sys.executable, "-c", "import time; time.sleep(60)"), time())
    rows = []
    outcome = suite.isolated.supervise(job, rows.append)
    assert [row["note"] for row in rows] == ["no time left while starting"]
    assert outcome.failed == []
    assert outcome.left == ["job after its start"]


def measured(suite, ways, *, limits=None, rounds=None, **options) -> tuple[Any, list[dict]]:
    """Run one made-up entry; the measurement and its rows."""
    registry, rows = suite.registry, []
    problem = registry.Problem(
        providers=ways, error=lambda _name, got: got, limit=0.5, flops=1.0, traffic=1.0
    )
    entry = registry.Entry("op", "case", lambda setting: problem, rounds=5)
    recorder = SimpleNamespace(row=lambda **row: rows.append(row))
    best = {"bytes": 1e9, "flops": 1e9}
    measurement = suite.measuring.Measurement(
        entry, registry.Setting(), recorder, best, limits=limits, **options
    )
    measurement.run(rounds)
    return measurement, rows


def test_a_wrong_provider_is_a_row_and_the_others_are_timed(suite):
    heard = []
    ways = {"fastbrain": lambda: 0.0, "wrong": lambda: 1.0, "nan": lambda: float("nan")}
    measurement, rows = measured(suite, ways, failing=heard.append)
    assert measurement.failed == heard == ["wrong", "nan"]
    assert [row["provider"] for row in rows if row["op"] == "failed_op"] == ["wrong", "nan"]
    assert [row["provider"] for row in rows if row["op"] == "op"] == ["fastbrain"]


@pytest.mark.parametrize("calls", [1, 2, 4])
def test_a_provider_that_fails_later_is_left_out_then(suite, calls):
    """While it is probed, warmed up or timed: it was right when it was verified."""
    count = iter(range(100))

    def later() -> float:
        if next(count) >= calls:
            raise RuntimeError("not again")
        return 0.0

    limits = suite.measuring.Limits(factor=1e9)
    measurement, rows = measured(suite, {"fastbrain": lambda: 0.0, "later": later}, limits=limits)
    assert measurement.failed == ["later"]
    assert [row["provider"] for row in rows if row["op"] == "failed_op"] == ["later"]
    assert [row["rounds"] for row in rows if row["op"] == "op"] == [5]


def test_where_ours_fails_there_is_no_ratio(suite):
    _, rows = measured(suite, {"fastbrain": lambda: 1.0, "rival": lambda: 0.0})
    [timed] = [row for row in rows if row["op"] == "op"]
    assert timed["provider"] == "rival"
    assert timed["ratio_to_fastbrain"] is None


def test_slow_providers_are_dropped_but_ours_is_not_for_being_slower(suite, monkeypatch):
    seconds = {"fastbrain": 0.5, "slower": 0.5, "beyond": 3.0, "fast": 0.01}
    ways = {name: (lambda: 0.0) for name in seconds}
    names = {id(way): name for name, way in ways.items()}
    monkeypatch.setattr(suite.measuring, "cpu_clock", lambda way: seconds[names[id(way)]])
    limits = suite.measuring.Limits(call_s=2.0, factor=20.0)
    _, rows = measured(suite, ways, limits=limits, rounds=100)
    dropped = {row["provider"]: row["note"] for row in rows if row["op"] == "dropped_op"}
    assert set(dropped) == {"slower", "beyond"}
    assert "one call takes 3 s, 300 times the fastest" in dropped["beyond"]
    timed = {row["provider"]: row["rounds"] for row in rows if row["op"] == "op"}
    # two seconds of calls of half a second
    assert timed == {"fastbrain": 4, "fast": 4}


def test_nothing_begins_after_the_deadline(suite):
    limits = suite.measuring.Limits(deadline=0.0)
    _, rows = measured(suite, {"fastbrain": lambda: 0.0, "other": lambda: 0.0}, limits=limits)
    assert {(row["op"], row["note"]) for row in rows} == {("dropped_op", "no time left")}


@pytest.mark.parametrize("family", ["lora", "neighborhood", "voxel_tokenizer"])
def test_a_step_with_a_wrong_gradient_is_wrong(suite, family, monkeypatch):
    """An answer alone, however right, does not make a training step."""
    import lora
    import neighborhood
    import voxel_tokenizer
    from tokenizing import Shape

    setting = suite.registry.Setting()
    problem = {
        "lora": lambda: lora.problem(9, 16, 12, 4, "gelu", True, setting),
        "neighborhood": lambda: neighborhood.problem(8, 50, 16, 3, "paper", setting),
        "voxel_tokenizer": lambda: voxel_tokenizer.problem(
            Shape((8, 8, 12), 2, 4, 6, backward=True), setting
        ),
    }[family]()
    for name, way in problem.providers.items():
        answer = way()
        assert problem.error(name, answer) <= problem.limit
        for index in range(1, len(answer)):
            spoilt = [*answer]
            spoilt[index] = spoilt[index] * 1.1
            assert problem.error(name, tuple(spoilt)) > problem.limit


def test_float32_is_not_tf32(suite):
    import _timing

    places = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [place.allow_tf32 for place in places]
    try:
        for place in places:
            place.allow_tf32 = True
        _timing.no_tf32()
        assert not any(place.allow_tf32 for place in places)
    finally:
        for place, value in zip(places, before, strict=True):
            place.allow_tf32 = value
