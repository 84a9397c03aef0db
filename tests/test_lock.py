"""A lock on a folder: one process at a time, told who holds it, and never stale."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from fastbrain import _lock
from fastbrain._lock import hold
from fastbrain.errors import CheckpointError, DiskError, StoreError

HOLDER = """
import sys
from fastbrain._lock import hold
with hold(sys.argv[1], what="first"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock until its stdin ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_is_told_who_holds_it(tmp_path, holder):
    who = rf"second: .*one process at a time.*pid {holder.pid} on host {os.uname().nodename} since"
    with pytest.raises(StoreError, match=who), hold(tmp_path / ".lock", what="second"):
        pass
    with (
        pytest.raises(CheckpointError, match=f"pid {holder.pid}"),
        hold(tmp_path / ".lock", what="second", error=CheckpointError),
    ):
        pass
    holder.communicate("\n", timeout=60)
    assert holder.returncode == 0
    assert not list(tmp_path.iterdir())
    with hold(tmp_path / ".lock", what="second"):
        pass


def test_a_killed_holder_leaves_no_lock(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(timeout=60)
    assert json.loads((tmp_path / ".lock").read_text())["pid"] == holder.pid
    with hold(tmp_path / ".lock", what="second"):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()], ids=repr)
def test_a_failure_gives_the_lock_back(tmp_path, error):
    with pytest.raises(type(error)), hold(tmp_path / ".lock", what="first"):
        raise error
    assert not list(tmp_path.iterdir())
    with hold(tmp_path / ".lock", what="second"):
        pass


def test_the_same_process_cannot_hold_it_twice(tmp_path):
    with (
        hold(tmp_path / ".lock", what="first"),
        pytest.raises(StoreError, match=f"pid {os.getpid()}"),
        hold(tmp_path / ".lock", what="second"),
    ):
        pass


def test_a_lock_removed_between_opening_and_locking_is_taken_anew(tmp_path, monkeypatch):
    path, real, calls = tmp_path / ".lock", _lock.fcntl.flock, []

    def flock(handle, how):
        calls.append(handle)
        if len(calls) == 1:  # its holder has just ended
            path.unlink()
        real(handle, how)

    monkeypatch.setattr(_lock.fcntl, "flock", flock)
    with hold(path, what="second"):
        assert len(calls) == 2
        with pytest.raises(StoreError), hold(path, what="third"):
            pass


def test_a_lock_left_by_another_machine_is_told(tmp_path, capsys):
    path = tmp_path / ".lock"
    path.write_text(json.dumps({"pid": 7, "host": "node-17", "since": "yesterday"}))
    with hold(path, what="here"):
        pass
    said = capsys.readouterr().err
    assert "pid 7 on host node-17 since yesterday" in said
    assert "does not share locks between machines" in said


@pytest.mark.parametrize("left", [b"", b"\xff{", b"[1]", b"{}", b"null"])
def test_what_a_lock_file_holds_need_not_be_readable(tmp_path, left):
    (tmp_path / ".lock").write_bytes(left)
    with hold(tmp_path / ".lock", what="here"):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch, number):
    def flock(handle, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_lock.fcntl, "flock", flock)
    with pytest.raises(DiskError), hold(tmp_path / ".lock", what="here"):
        pass


def test_a_folder_that_is_not_there_is_a_disk_error(tmp_path):
    with pytest.raises(DiskError), hold(tmp_path / "none" / ".lock", what="here"):
        pass
