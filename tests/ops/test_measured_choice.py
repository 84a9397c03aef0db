"""Choice between ways by their times: file, variable, damage."""

from __future__ import annotations

import json

import pytest
import torch

from fastbrain.errors import BackendError
from fastbrain.ops import _measured

KEY = "an op and its shape class"
pytestmark = pytest.mark.usefixtures("measuring")


class Ways:
    """Two ways, of which the second is faster by far; a clock of their own makes it certain."""

    def __init__(self, monkeypatch):
        self.now, self.calls = 0.0, []
        monkeypatch.setattr(_measured, "perf_counter", lambda: self.now)

    def table(self, slow=2.0, fast=1.0):
        def way(name, seconds):
            def run():
                self.calls.append(name)
                self.now += seconds

            return run

        return {"slow": way("slow", slow / 100), "fast": way("fast", fast / 100)}


@pytest.fixture
def ways(monkeypatch):
    return Ways(monkeypatch)


def test_measures_once_and_keeps_the_result(ways, tmp_path):
    first = _measured.choose(KEY, ways.table(), "slow")
    assert (first.way, first.measured) == ("fast", True)
    assert first.reason == "measured here: slow 20 ms, fast 10 ms"
    assert ways.calls == ["slow", "fast"] * 3
    assert _measured.choose(KEY, ways.table(), "slow") == first
    # another process
    _measured.forget()
    assert _measured.choose(KEY, ways.table(), "slow", measure=False) == first
    assert len(ways.calls) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["measured.json"]


def test_a_small_gain_does_not_leave_the_rule(ways):
    assert _measured.choose(KEY, ways.table(1.0, 0.97), "slow").way == "slow"
    assert _measured.choose("other", ways.table(0.97, 1.0), "fast").way == "fast"


def test_long_calls_are_measured_less_often(ways):
    _measured.choose(KEY, ways.table(20.0, 10.0), "slow")
    assert ways.calls == ["slow", "fast"] * 2


def test_every_machine_has_its_own_times(ways, monkeypatch):
    _measured.choose(KEY, ways.table(), "slow")
    monkeypatch.setattr(_measured, "machine", lambda threads: f"another, {threads} threads")
    unknown = _measured.choose(KEY, ways.table(), "slow", measure=False)
    assert unknown.way == "slow"
    assert not unknown.measured


def test_the_machine_is_named_by_what_times_depend_on():
    named = _measured.machine(3)
    assert "3 threads" in named
    assert f"torch {torch.__version__}" in named


def test_the_variable_fixes_a_way(ways, monkeypatch):
    for value, way in (("0", "slow"), ("fast", "fast"), ("slow", "slow")):
        monkeypatch.setenv(_measured.VARIABLE, value)
        assert _measured.choose(KEY, ways.table(), "slow").way == way
    monkeypatch.setenv(_measured.VARIABLE, "2")
    with pytest.raises(BackendError, match=r"one of 0, 1, stream.* slow, fast, got '2'"):
        _measured.choose(KEY, ways.table(), "slow")
    monkeypatch.setenv(_measured.VARIABLE, "rounded")
    assert _measured.choose(KEY, ways.table(), "slow").way == "slow"
    assert ways.calls == []


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"m": 3}', '{"m": {"k": {"slow": -1}}}', '{"m": {"k": {"slow": "x"}}}'],
)
def test_a_damaged_file_is_told_and_replaced(ways, tmp_path, content):
    (tmp_path / "measured.json").write_text(content)
    assert "not read" in _measured.report()["trouble"]
    assert _measured.choose(KEY, ways.table(), "slow").way == "fast"
    assert _measured.report()["trouble"] is None
    (times,) = json.loads((tmp_path / "measured.json").read_text()).values()
    assert times[KEY]["fast"] == pytest.approx(0.01)


def test_a_folder_that_cannot_be_written_is_told(ways, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FASTBRAIN_CACHE", str(tmp_path / "file"))
    assert _measured.choose(KEY, ways.table(), "slow").way == "fast"
    assert "not kept" in _measured.report()["trouble"]
    assert KEY in _measured.report()["seconds"]


def test_what_another_process_added_stays(ways, tmp_path):
    _measured.choose(KEY, ways.table(), "slow")
    path = tmp_path / "measured.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, "elsewhere": {"k": {"slow": 1.0, "fast": 2.0}}}))
    _measured.choose("another", ways.table(), "slow")
    assert set(json.loads(path.read_text())) == {"elsewhere", *found}
