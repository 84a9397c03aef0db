"""A commit against the working tree: worktrees are removed, and both sides are timed in turn."""

from __future__ import annotations

import json
import subprocess

import pytest

from fastbrain.bench import base
from fastbrain.errors import BackendError, ConfigError, InputError


@pytest.fixture
def checkout(tmp_path):
    """A repository with one commit, which pip cannot build."""
    root = tmp_path / "checkout"
    root.mkdir()
    (root / "pyproject.toml").write_text("[build-system]\nrequires = []\nbuild-backend = 'none'\n")
    git = ["git", "-C", str(root), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "First"], ["branch", "other"]):
        subprocess.run([*git, *words], check=True)
    return root


def test_a_base_is_a_commit_of_the_checkout(checkout):
    assert base.commit_of(checkout, "other") == base.commit_of(checkout, "HEAD")
    for ref in ("none", "--all", ""):
        with pytest.raises(InputError, match="base must be a commit"):
            base.commit_of(checkout, ref)


def test_an_installed_wheel_has_no_base(tmp_path):
    with pytest.raises(ConfigError, match="needs a git checkout"):
        base.check_checkout(tmp_path)


def test_a_base_that_cannot_be_built_leaves_no_worktree(checkout):
    with pytest.raises(BackendError, match="the base must build"):
        with base.built(checkout, base.commit_of(checkout, "other")):
            pass
    listed = ["git", "-C", str(checkout), "worktree", "list"]
    assert len(subprocess.run(listed, capture_output=True, text=True).stdout.splitlines()) == 1


def test_both_sides_are_timed_in_turn(monkeypatch, tmp_path):
    """Each block is a process, and the side that comes first changes."""
    program = (
        "import pathlib, sys; path = pathlib.Path(sys.argv[1]); "
        "name = path.stem + ('*' if sys.flags.no_site else ''); "
        "log = path.with_name('log'); "
        "log.write_text((log.read_text() if log.exists() else '') + name + ' '); "
        "path.write_text(sys.argv[3])"
    )
    monkeypatch.setattr(base, "_BLOCK", program)
    options = json.dumps({"ops": ["vq_step"]})
    sides = base.time_both(tmp_path, tmp_path, "abc", [options], blocks=3)
    assert (tmp_path / "log").read_text().split() == "base* head head base* base* head".split()
    assert sides.base.read_text() == options


def test_a_side_that_fails_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(base, "_BLOCK", "raise SystemExit('no such op')")
    with pytest.raises(BackendError, match=r"the base must run the cases, got no such op"):
        base.time_both(tmp_path, tmp_path, "abc", ["{}"], blocks=3)


def test_a_block_records_its_commit(points, measured_roofline, tmp_path):
    from fastbrain.bench.block import main

    path = tmp_path / "rows.jsonl"
    for commit in ("abcdef12", ""):
        main([str(path), commit, json.dumps({"ops": ["squares"], "cases": ["small"]})])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    times = [row for row in rows if row["op"] == "squares" and row["provider"] == "fastbrain"]
    assert times[0]["env"]["commit"] == "abcdef12"
    # a second block of the same side is not taken for what the file has already
    assert len(times) == 2
