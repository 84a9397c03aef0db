"""Sessions that are ended from outside: killed, terminated, restarted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastbrain.realtime.session import session

PROGRAM = Path(__file__).with_name("live_process.py")
CLEAN_S = 1.0  # the promise for SIGTERM
# machines that run tests are not quiet; a session that waited for its decoder would take ten times
# as long
BUSY = 4.0


def start(log: Path, count: int, *options: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(log), str(count), *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout as said:
        assert said.readline() == "ready\n"
    return process


def rows(log: Path):
    """Whole lines of a log, and whether its last one is torn."""
    lines = log.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines[:-1]], lines[-1] != b""


def wait_for(log: Path, count: int) -> list[int]:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        found = [r["index"] for r in rows(log)[0] if r["type"] == "record"] if log.exists() else []
        if len(found) >= count:
            return found
        time.sleep(0.005)
    raise AssertionError("the session wrote too few records")


def test_a_killed_session_loses_at_most_one_record_and_goes_on(tmp_path):
    log = tmp_path / "log.jsonl"
    written = []
    for part in range(1, 4):
        process = start(log, 100_000)
        seen = wait_for(log, 25 * part)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept, _ = rows(log)
        found = [r["index"] for r in kept if r["type"] == "record"]
        assert set(seen) <= set(found)
        # without faults, numbers have no gap: what the kill took is the one in progress
        assert sorted(found) == list(range(len(found)))
        written.append(len(found))
        with log.open("ab") as file:
            file.write(b'{"type": "record", "ind')  # a torn line
    header = rows(log)[0][0]
    assert header["type"] == "header"
    assert header["schema"] == 1
    # each later session goes on behind the records that it found
    assert [r["first"] for r in rows(log)[0] if r["type"] == "resumed"] == written[:2]
    assert "secret" not in log.read_text()


def test_the_waits_at_the_end_are_within_the_promise():
    # for the reader, the worker and the outputs
    assert 3 * session._JOIN_S < CLEAN_S


@pytest.mark.parametrize("options", [(), ("--hang",), ("--hang", "--deaf")], ids=str)
def test_a_terminated_session_closes_its_log_without_its_decoder(tmp_path, options):
    log = tmp_path / "log.jsonl"
    process = start(log, 100_000, *options)
    # a decoder that hangs keeps its own record open until it is given up
    wait_for(log, 10)
    before = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code = process.wait(timeout=20)
    took = time.monotonic() - before
    assert took <= BUSY * CLEAN_S
    assert code == 143
    kept, torn = rows(log)
    assert not torn
    assert kept[-1]["type"] == "end"
    assert kept[-1]["reason"] == "SIGTERM"
    found = sorted(r["index"] for r in kept if r["type"] == "record")
    assert found == list(range(len(found)))
    assert kept[-1]["counters"]["records"] == len(found)


def test_a_terminated_session_does_not_wait_for_its_warm_up(tmp_path):
    log = tmp_path / "log.jsonl"
    process = start(log, 100_000, "--cold")
    before = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code = process.wait(timeout=20)
    took = time.monotonic() - before
    assert took <= BUSY * CLEAN_S
    assert code == 143
    kept, _ = rows(log)
    assert [row["type"] for row in kept] == ["header", "end"]
