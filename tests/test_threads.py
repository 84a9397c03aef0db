"""Waiting OpenMP threads leave the cores to others, unless the user says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fastbrain._threads import SPIN_COUNT

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
