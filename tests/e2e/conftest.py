"""Fixtures of the first hours: the installed wheel, a terminal, and a small trained run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from figures_once import figures_once  # noqa: F401
from new_user import SMALL, Shell, install_wheel, try_out


@pytest.fixture(scope="session")
def installed(shared_by_workers) -> Path:
    """Folder of the programs of an environment with the wheel."""
    return shared_by_workers("wheel", install_wheel)


@pytest.fixture
def shell(installed, tmp_path) -> Shell:
    """A terminal in a fresh folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    return Shell(installed, folder)


@pytest.fixture(scope="session")
def first_run(installed, shared_by_workers) -> Path:
    """Folder with a cohort, a store and a trained run; not to be written to."""
    return shared_by_workers("first-run", lambda folder: try_out(installed, folder))


@pytest.fixture
def trained(shell, first_run) -> Shell:
    """A terminal in a fresh folder with a copy of the trained run, and the cohort."""
    for name in ("cohort", "store", "run"):
        shutil.copytree(first_run / name, shell.folder / name)
    (shell.folder / "small.json").write_text(json.dumps(SMALL))
    return shell
