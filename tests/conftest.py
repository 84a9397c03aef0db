"""Shared fixtures."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from slow_parts import divided

# the choice of a way must not depend on timing: rules apply, also in children
os.environ["FASTBRAIN_MEASURE"] = "0"


# "2/4": of the slow tests only the second of four parts is run
PART = os.environ.get("FASTBRAIN_TEST_PART", "1/1")


def pytest_report_header() -> str:
    """Say which of the slow tests are run."""
    return f"slow tests: part {PART.replace('/', ' of ')}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the slow tests of other parts."""
    items[:], left_out = divided(items, *map(int, PART.split("/")))
    config.hook.pytest_deselected(items=left_out)


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
def shared_by_workers(tmp_path_factory) -> Callable[[str, Callable[[Path], Path]], Path]:
    """Makes a folder once for all test processes; the others wait for the one that makes it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make: Callable[[Path], Path]) -> Path:
        folder, done = base / name, base / f"{name}.path"
        with open(base / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                folder.mkdir()
                done.write_text(str(make(folder)))
        return Path(done.read_text())

    return made


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
