"""Shared fixtures."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real data named by FASTBRAIN_TEST_DATA; the test is skipped without it."""
    folder = os.environ.get("FASTBRAIN_TEST_DATA")
    if not folder:
        pytest.skip("FASTBRAIN_TEST_DATA is not set: no real data to read")
    path = Path(folder)
    if not path.is_dir():
        pytest.skip(f"FASTBRAIN_TEST_DATA={folder} is not a folder")
    return path


@pytest.fixture(scope="session")
def run_two() -> Callable[..., None]:
    """Runs a command twice at once, with rank 0 and 1 behind it; both have to end well."""

    def run(*command: str) -> None:
        workers = [
            subprocess.Popen([*command, str(rank)], stderr=subprocess.PIPE, text=True)
            for rank in range(2)
        ]
        for worker in workers:
            _, log = worker.communicate(timeout=100)
            assert worker.returncode == 0, log[-3000:]

    return run
