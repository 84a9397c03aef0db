"""Progress: all items come through, a log gets few lines, stdout stays data."""

from __future__ import annotations

import io
import sys

import pytest

from fastbrain import _progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_say_writes_to_stderr(capsys):
    _progress.say("hello")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "hello\n")


@pytest.mark.parametrize("terminal", [False, True], ids=["log", "terminal"])
@pytest.mark.parametrize("items", [[], [1], list(range(101))], ids=len)
def test_track_yields_everything_in_order(monkeypatch, capsys, items, terminal):
    monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
    assert list(_progress.track(items, "counting")) == items
    assert list(_progress.track(iter(items), "counting")) == items
    assert list(_progress.track(iter(items), "counting", total=len(items))) == items
    assert capsys.readouterr().out == ""


def test_quick_work_is_silent_in_a_log(capsys):
    list(_progress.track(range(1000), "counting"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("sized", "place"), [(True, "3/7"), (False, "3")])
def test_long_work_says_how_far_it_is(monkeypatch, capsys, sized, place):
    clock = iter(range(0, 1000, 4))  # seconds; a line every ten
    monkeypatch.setattr(_progress.time, "monotonic", lambda: next(clock))
    items = range(7) if sized else iter(range(7))
    list(_progress.track(items, "counting"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"counting: {place} (12 s)"
    assert len(lines) == 2


def test_an_error_inside_the_loop_is_the_callers(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())

    def broken():
        yield 1
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        list(_progress.track(broken(), "counting"))
