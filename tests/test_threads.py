"""Waiting OpenMP threads leave the cores to others, unless the user says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fastbrain import _threads
from fastbrain._threads import SPIN_COUNT, load_line, waiting_line

SHOW = "import os; print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'))"
COMMAND = f"from fastbrain.cli import main; main(['--version']); {SHOW}"
SCRIPT = f"import fastbrain; print(fastbrain.share_cores()); {SHOW}"
LATE = f"import torch, fastbrain; print(fastbrain.share_cores()); {SHOW}"


def last_lines(code: str, count: int, **settings: str) -> list[str]:
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {k: v for k, v in os.environ.items() if k not in names} | settings
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return ran.stdout.splitlines()[-count:]


@pytest.mark.parametrize(
    ("set_to", "processes", "expected"),
    [("8", 2, 4), ("8", 3, 2), ("1", 4, 1), ("6,2", 2, 3), ("", 2, 3), ("dynamic", 6, 1)],
)
def test_cores_are_divided_between_processes(monkeypatch, set_to, processes, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    monkeypatch.setenv("OMP_NUM_THREADS", set_to)
    assert _threads.threads_each(processes) == expected


def test_every_command_sets_the_count():
    assert last_lines(COMMAND, 1) == [f"{SPIN_COUNT} None"]


def test_a_script_can_ask_for_it():
    assert last_lines(SCRIPT, 2) == ["True", f"{SPIN_COUNT} None"]


@pytest.mark.parametrize("code", [COMMAND, SCRIPT])
@pytest.mark.parametrize("mine", [{"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "active"}])
def test_what_the_user_set_is_kept(code, mine):
    expected = f"{mine.get('GOMP_SPINCOUNT')} {mine.get('OMP_WAIT_POLICY')}"
    assert last_lines(code, 1, **mine) == [expected]


def test_too_late_is_said():
    assert last_lines(LATE, 2) == ["False", "None None"]


@pytest.mark.parametrize(("load", "warned"), [(0.3, False), (2.0, False), (2.1, True), (9.0, True)])
def test_more_processes_than_cores_are_warned_of(monkeypatch, load, warned):
    monkeypatch.setattr(_threads.os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(_threads.os, "sched_getaffinity", lambda _: {0, 1})
    line = load_line()
    assert line.startswith("warning: ") == warned
    assert f"{load:.1f} processes on 2 cores" in line


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "libgomp's default"),
        ({"GOMP_SPINCOUNT": str(SPIN_COUNT)}, "set by fastbrain"),
        ({"GOMP_SPINCOUNT": "7"}, "GOMP_SPINCOUNT=7, set by you"),
        ({"OMP_WAIT_POLICY": "passive"}, "OMP_WAIT_POLICY=passive, set by you"),
    ],
)
def test_doctor_says_how_threads_wait(monkeypatch, settings, said):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert said in waiting_line()
