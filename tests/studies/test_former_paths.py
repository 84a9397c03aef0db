"""Commands that name a study by its former path, in ``examples/``, run it as before."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUDIES = sorted(
    path for path in ROOT.glob("studies/*.py") if '__name__ == "__main__"' in path.read_text()
)


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_the_former_path_has_the_names_of_the_study(study, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(sys, "path", list(sys.path))
    found = runpy.run_path(str(ROOT / "examples" / study.name))
    assert found["main"].__code__.co_filename == str(study)


def test_arguments_and_exit_status_are_passed_on(tmp_path):
    command = [sys.executable, str(ROOT / "examples/alice_retrieval.py"), "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == f"alice: {tmp_path} must hold folders named like 6mm, got none."
