"""The record of what a run was made with."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from fastbrain.training import provenance
from fastbrain.training.provenance import git_state


@pytest.fixture(autouse=True)
def fresh():
    git_state.cache_clear()
    yield
    git_state.cache_clear()


@pytest.fixture
def checkout(tmp_path):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    (tmp_path / "fastbrain").mkdir()
    (tmp_path / "fastbrain" / "a.py").write_text("a = 1\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run(["git", "-C", tmp_path, *who, *command], check=True)
    return tmp_path


def test_a_checkout_says_its_commit_and_whether_it_was_changed(checkout):
    (checkout / "runs").mkdir()
    (checkout / "runs" / "result").write_text("of a run, no part of the package")
    clean = git_state(checkout)
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    git_state.cache_clear()
    (checkout / "fastbrain" / "a.py").write_text("a = 2\n")
    assert git_state(checkout) == {**clean, "dirty": True}


def test_no_checkout_no_git_and_a_git_that_fails_are_none(checkout, tmp_path_factory, monkeypatch):
    assert git_state(tmp_path_factory.mktemp("installed")) is None
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))
    assert git_state(checkout) is None
    git_state.cache_clear()
    monkeypatch.undo()
    (checkout / ".git" / "HEAD").unlink()
    assert git_state(checkout) is None


def test_the_versions_of_the_packages_are_told():
    told = provenance.provenance()
    assert set(told) == {"versions", "git"}
    assert {"fastbrain", "torch", "transformers", "python"} <= set(told["versions"])
