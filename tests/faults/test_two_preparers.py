"""Two processes prepare one store: the second gets an error that names the first, and no harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from file_contents import files_of

from fastbrain.cli import main
from fastbrain.data import VoxelStore

# converts runs, and waits for a line of stdin in the middle of writing the second one
FIRST = """
import sys
import fastbrain.data.store.convert as convert
from fastbrain.cli import main
real, calls = convert.write_atomic, []

def slow(path, write):
    def halfway(file):
        file.write(b"")
        write(file)
        calls.append(path)
        if len(calls) == 2:
            print("halfway", flush=True)
            sys.stdin.readline()
    return real(path, halfway if path.parent.name == "runs" and path.suffix == ".npy" else write)

convert.write_atomic = slow
raise SystemExit(main(sys.argv[1:]))
"""


@pytest.fixture
def command(table, tmp_path) -> list[str]:
    """The command that both processes are started with, as the jobs of an array are."""
    return [
        *("prepare", str(table), str(tmp_path / "store"), "--resume"),
        *("--kernel", "2", "2", "2", "--window", "2"),
        *("--high-pass", "100", "--closed-set", "--split-by", "run"),
        *("--train", "1", "--val", "2", "--test", "3"),
    ]


@pytest.mark.parametrize("end", ["finishes", "is killed"])
def test_the_second_is_refused_while_the_first_works(command, tmp_path, capsys, end):
    store = tmp_path / "store"
    with subprocess.Popen(
        [sys.executable, "-c", FIRST, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as first:
        while (line := first.stdout.readline()) != "halfway\n":
            assert line, first.stderr.read()
        before = files_of(store)
        assert [name for name in before if name.endswith(".tmp")]
        assert main(command) == 1
        told = capsys.readouterr().err
        assert "one process at a time" in told
        assert f"pid {first.pid} on host {os.uname().nodename} since" in told
        assert files_of(store) == before
        if end == "is killed":
            os.kill(first.pid, signal.SIGKILL)
            first.communicate(timeout=60)
        else:
            _, log = first.communicate("\n", timeout=60)
            assert first.returncode == 0, log
    # the lock is free again; the next run completes what was left
    assert main(command) == 0
    assert not list(store.rglob(".*"))
    VoxelStore.open(store, verify=True)
    assert main([*command[:2], str(tmp_path / "fresh"), *command[4:]]) == 0
    assert files_of(store) == files_of(tmp_path / "fresh")
