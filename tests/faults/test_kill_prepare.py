"""A preparation killed at any instant goes on, loses one run at most, and gives the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from file_contents import files_of
from small_store import small_store, small_table

from fastbrain.data import VoxelStore, verify_store
from fastbrain.errors import FastbrainError

# the promise of SECURITY.md is 200; FASTBRAIN_KILLS=200 tries them all
KILLS = int(os.environ.get("FASTBRAIN_KILLS", 12))
PARALLEL_KILLS = max(2, KILLS // 10)

# Imports once, then forks a preparation for every line it reads. The line says at which call or
# return of a function that one kills itself: instants spread over all of it, on any machine.
SERVER = """
import os, signal, sys
from pathlib import Path
import fastbrain.data.store.convert
from small_store import prepared
# a killed process loses nothing that it wrote: only a power cut does, and fsync is slow
os.fsync = lambda handle: None

def prepare(table, out, last):
    seen = 0

    def count(*_):
        nonlocal seen
        seen += 1
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    prepared(table, out, resume=out.exists())
    sys.setprofile(None)
    os.write(1, f"finished {seen}\\n".encode())
    os._exit(0)

for line in sys.stdin:
    child = os.fork()
    if not child:
        prepare(Path(sys.argv[1]), Path(sys.argv[2]), int(line))
    os.waitpid(child, 0)
    os.write(1, b"dead\\n")
"""

PARALLEL = """
import sys
from pathlib import Path
from small_store import prepared

if __name__ == "__main__":
    out = Path(sys.argv[2])
    print("begun", flush=True)
    prepared(Path(sys.argv[1]), out, resume=out.exists(), n_jobs=2)
    print("finished", flush=True)
"""

HELPERS = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "helpers")}


def converted(out: Path) -> dict[str, int]:
    """Inodes of the records of the converted runs: another file has another one."""
    return {path.name: path.stat().st_ino for path in out.glob("runs/*.json")}


@pytest.mark.slow
def test_kill_nine_at_any_call_loses_at_most_one_run(tmp_path):
    expected = files_of(small_store(tmp_path, name="expected", runs=4).path)
    table, out = small_table(tmp_path, runs=4), tmp_path / "out"
    rng = random.Random(0)
    calls, kills, finished = 0, 0, 0
    command = [sys.executable, "-c", SERVER, str(table), str(out)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=HELPERS
    ) as server:
        while kills < KILLS:
            # the first one is not killed, and tells how many calls there are
            last = rng.randint(1, calls) if calls else -1
            before = converted(out)
            server.stdin.write(f"{last}\n")
            server.stdin.flush()
            seen = 0
            while (line := server.stdout.readline()) != "dead\n":
                assert line, "the server has ended"
                seen = int(line.split()[1])
            # what was converted before is not converted again
            now = converted(out)
            assert {name: now.get(name) for name in before} == before
            if seen:
                finished += 1
                calls = calls or seen
                assert files_of(out) == expected
                assert verify_store(out) == ()
                shutil.rmtree(out)
                continue
            kills += 1
            if (out / "manifest.json").exists():
                VoxelStore.open(out, verify=True)
            elif out.exists():
                # an unfinished store differs from a finished one by it
                with pytest.raises(FastbrainError, match="manifest"):
                    VoxelStore.open(out)
        server.stdin.close()
    assert finished >= 1


@pytest.mark.slow
def test_killed_parents_and_workers_of_a_parallel_preparation(tmp_path):
    expected = files_of(small_store(tmp_path, name="expected", runs=4).path)
    table, out = small_table(tmp_path, runs=4), tmp_path / "out"
    rng = random.Random(1)
    command = [sys.executable, "-c", PARALLEL, str(table), str(out)]
    kills = 0
    while kills < PARALLEL_KILLS:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=HELPERS
        ) as process:
            assert process.stdout.readline() == "begun\n"
            time.sleep(rng.uniform(0, 1.5))
            victims = [process.pid]
            if kills % 2:
                victims = workers_of(process.pid) or victims
            for victim in victims[:1]:
                os.kill(victim, signal.SIGKILL)
            # every worker ends with its parent, so that the pipe is closed
            told, log = process.communicate(timeout=60)
        if "finished" not in told:
            assert process.returncode != 0
            if process.returncode > 0:
                assert "killed while it worked on" in log
        elif out.exists():
            shutil.rmtree(out)
        kills += 1
    done = subprocess.run(command, env=HELPERS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert files_of(out) == expected


def workers_of(parent: int) -> list[int]:
    """Processes that a process has started and that run jobs."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            command = (folder / "cmdline").read_text()
        except (OSError, IndexError):
            continue
        if int(status[1]) == parent and "popen_loky" in command:
            found.append(int(folder.name))
    return found
