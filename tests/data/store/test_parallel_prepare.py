"""Runs converted in other processes give the same bytes; what goes wrong there is an error here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from file_contents import files_of

import fastbrain.data.store.prepare as prepare
from fastbrain.cli import main
from fastbrain.data import VoxelStore, WindowSpec, prepare_store, read_runs_table, split_by
from fastbrain.data.store.convert import convert_run
from fastbrain.errors import ConfigError, InputError, MissingPartError, StoreError, VolumeError


def by_run(trials):
    return split_by(trials, "run", train=["01"], val=["02"], test=["03"], closed_set=True)


OPTIONS = {"window": WindowSpec(4.0, 3), "kernel": (2, 2, 3), "split": by_run, "high_pass_s": 50.0}
KILLED = "sub-01_run-02"
# for runs of a tenth of a second, on the slowest machine
WAIT_S = 60.0


def killed_at_one_run(how, task):
    """Stands for convert_run in the worker processes: the memory ends at one run."""
    if task.run.run_id == KILLED:
        # the records are what the others write last
        others = [how.root / "runs" / f"sub-01_run-0{r}.json" for r in (1, 3)]
        end = time.monotonic() + WAIT_S
        while not all(path.exists() for path in others) and time.monotonic() < end:
            time.sleep(0.05)
        # and their answers have left their processes
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    return convert_run(how, task)


@pytest.fixture
def runs(cohort):
    return read_runs_table(cohort(subjects=1, trials=4))


@pytest.fixture
def expected(runs, tmp_path) -> dict[str, bytes]:
    return files_of(prepare_store(runs, tmp_path / "one", **OPTIONS).path)


@pytest.mark.parametrize("dtype", ["int16", "int8"])
def test_the_bytes_do_not_depend_on_the_number_of_jobs(runs, tmp_path, dtype):
    one = prepare_store(runs, tmp_path / "one", dtype=dtype, **OPTIONS)
    two = prepare_store(runs, tmp_path / "two", dtype=dtype, n_jobs=2, **OPTIONS)
    assert files_of(one.path) == files_of(two.path)
    assert list(one.info.runs) == [run.run_id for run in runs]


def test_a_killed_worker_is_an_error_that_names_its_run(runs, expected, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "convert_run", killed_at_one_run)
        with pytest.raises(StoreError, match=f"killed while it worked on .*{KILLED}, perhaps"):
            prepare_store(runs, out, n_jobs=2, **OPTIONS)
    # finished runs are kept, and nothing of the unfinished one
    assert {p.stem for p in out.glob("runs/*.npy")} == {"sub-01_run-01", "sub-01_run-03"}
    assert not [p for p in out.rglob(".*")]
    prepare_store(runs, out, resume=True, n_jobs=2, **OPTIONS)
    assert files_of(out) == expected


def test_an_error_in_a_worker_is_that_error(runs, tmp_path):
    path = runs[1].bold
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(VolumeError, match=path.name):
        prepare_store(runs, tmp_path / "out", n_jobs=2, **OPTIONS)


# says what it is about to do, and prepares slowly from then on
COMMAND = """
import signal, sys, time
import fastbrain.data.store.prepare as prepare
from fastbrain.cli import main
from fastbrain.data.store.convert import convert_run

def told(*args, real=prepare.run_jobs, **options):
    print("starting", flush=True)
    return real(*args, **options)

def slow(how, task):
    print("begun", flush=True)
    time.sleep(3600)

if __name__ == "__main__":
    # a shell without job control starts its background jobs with SIGINT ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    prepare.convert_run = slow
    prepare.run_jobs = told
    raise SystemExit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("how", "when", "later_s"),
    [
        (signal.SIGINT, "starting", 0.1),
        (signal.SIGINT, "starting", 0.3),
        (signal.SIGINT, "begun", 0.0),
        (signal.SIGKILL, "begun", 0.0),
    ],
)
def test_the_workers_end_with_the_command(cohort, tmp_path, how, when, later_s):
    table = cohort(subjects=1, trials=4)
    script = tmp_path / "slow.py"
    script.write_text(COMMAND)
    command = [sys.executable, str(script), "prepare", str(table), str(tmp_path / "out")]
    command += ["--kernel", "2", "2", "3", "--n-jobs", "2", "--high-pass", "50", "--closed-set"]
    command += ["--split-by", "run", "--train", "01", "--val", "02", "--test", "03"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            while when not in (line := process.stdout.readline()):
                assert line, process.stderr.read()
            time.sleep(later_s)
            if how == signal.SIGINT:
                # as Ctrl-C does: to all processes in the foreground
                os.killpg(process.pid, how)
            else:
                process.send_signal(how)
            # ends when the last process that holds the pipe has ended
            _, log = process.communicate(timeout=60)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert log.splitlines()[-1].endswith("Continue with --resume.")
        assert "Traceback" not in log
        assert not (tmp_path / "out" / ".converting").exists()


def test_a_dask_cluster_converts_the_runs(runs, expected, tmp_path):
    distributed = pytest.importorskip("dask.distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address
        store = prepare_store(runs, tmp_path / "out", dask=address, **OPTIONS)
    assert files_of(store.path) == expected


def test_a_cluster_that_is_not_there(runs, tmp_path, monkeypatch):
    pytest.importorskip("dask.distributed")
    monkeypatch.setattr("fastbrain._jobs._CLUSTER_S", 1)
    with pytest.raises(ConfigError, match=r"scheduler with workers, got 'tcp://127\.0\.0\.1:9'"):
        prepare_store(runs, tmp_path / "out", dask="tcp://127.0.0.1:9", **OPTIONS)
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    with pytest.raises(MissingPartError, match=r"fastbrain-fmri\[dask\]"):
        prepare_store(runs, tmp_path / "out", resume=True, dask="tcp://127.0.0.1:9", **OPTIONS)


@pytest.mark.parametrize("n_jobs", [0, -2])
def test_a_number_of_jobs_is_positive(runs, tmp_path, n_jobs):
    with pytest.raises(InputError, match="n_jobs must be 1 or more"):
        prepare_store(runs, tmp_path / "out", n_jobs=n_jobs, **OPTIONS)
    assert not (tmp_path / "out").exists()


def test_the_command_takes_both(cohort, tmp_path, capsys):
    table = cohort(subjects=1, trials=4)
    options = ["--kernel", "2", "2", "3", "--window", "3", "--high-pass", "50", "--closed-set"]
    options += ["--split-by", "run", "--train", "01", "--val", "02", "--test", "03"]
    out = tmp_path / "out"
    command = ["prepare", str(table), str(out), *options, "--n-jobs", "2", "--dtype", "int8"]
    assert main(command) == 0
    assert "int8" in capsys.readouterr().out
    assert VoxelStore.open(out, verify=True).info.dtype == "int8"
