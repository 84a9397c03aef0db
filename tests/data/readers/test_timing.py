"""Times become volumes in one way: ties go up, and decimal fractions land where they should."""

from __future__ import annotations

import ast
import math
from fractions import Fraction
from pathlib import Path

import pytest

import fastbrain
from fastbrain.data import WindowSpec, Word, story_samples
from fastbrain.data.readers.timing import nearest_volume, volume_during, volumes_to_cover
from fastbrain.errors import InputError

DATA = Path(fastbrain.__file__).parent / "data"


def test_a_tie_never_puts_two_stimuli_into_one_window():
    window = WindowSpec(delay_s=4.0, window_trs=2)
    assert [window.start(o, tr=2.0) for o in (1.0, 3.0, 5.0, 7.0, 9.0)] == [3, 4, 5, 6, 7]
    assert [nearest_volume(s, 1.0) for s in (-1.5, -0.5, 0.5, 1.5, 2.5)] == [-1, 0, 1, 2, 3]


@pytest.mark.parametrize("tr", ["0.1", "0.72", "1.5", "2", "0.45", "1.1"])
@pytest.mark.parametrize("tenths", range(-5, 16, 5))
def test_decimal_fractions_land_as_exact_arithmetic_has_it(tr, tenths):
    for k in (1, 2, 3, 7, 29, 57, 1000, 99_999):
        exact = (k + Fraction(tenths, 10)) * Fraction(tr)
        seconds = float(exact)
        volumes = exact / Fraction(tr)
        assert nearest_volume(seconds, float(tr)) == math.floor(volumes + Fraction(1, 2))
        assert volume_during(seconds, float(tr)) == math.floor(volumes)
        assert volumes_to_cover(seconds, float(tr)) == math.ceil(volumes)


def test_sums_that_binary_fractions_cannot_hold():
    assert 0.1 * 3 / 0.1 > 3 > 0.3 / 0.1
    assert volumes_to_cover(0.1 * 3, 0.1) == volume_during(0.3, 0.1) == 3
    assert WindowSpec(0.1 * 3, 1).guard_trs(0.1) == 4
    assert WindowSpec(4.0, 1).guard_trs(0.1) == 41
    # 1.15 / 0.1 is a little below eleven and a half
    assert WindowSpec(0.0, 1).start(1.15, tr=0.1) == 12


@pytest.mark.parametrize("tr", [0.8, 1.49, 2.0])
def test_lags_are_a_window(tr):
    lags = [round(4 + i * tr, 2) for i in range(6)]
    window = WindowSpec.of_lags(lags, tr=tr, onset_offset_s=12.0)
    assert window == WindowSpec(4.0, 6, 12.0)
    frames = [WindowSpec(lag, 1, 12.0).start(20.0, tr=tr) for lag in lags]
    start = window.start(20.0, tr=tr)
    assert frames == [start + i for i in range(6)]


@pytest.mark.parametrize("lags", [(), (4, 8), (4, 6, 7), (6, 4), (4, 4), (float("nan"),)])
def test_lags_that_are_not_consecutive_volumes_are_refused(lags):
    with pytest.raises(InputError, match="lags_s must be one repetition time, 2 s, apart"):
        WindowSpec.of_lags(lags, tr=2.0)


def test_words_at_the_start_of_a_volume():
    words = [Word("a", 0.3, 0.35), Word("b", 0.6, 0.65)]
    found = story_samples(words, tr=0.1, n_volumes=10, window=1)
    assert [(s.start, s.text) for s in found] == [(3, "a"), (6, "b")]


@pytest.mark.parametrize(
    ("seconds", "tr"), [(float("nan"), 1), (float("inf"), 1), (1, 0), (1, -2), (1e308, 0.1)]
)
@pytest.mark.parametrize("function", [nearest_volume, volume_during, volumes_to_cover])
def test_impossible_times(function, seconds, tr):
    with pytest.raises(InputError, match=function.__name__):
        function(seconds, tr)


def test_no_other_module_of_data_rounds_times():
    """Nothing else divides by a repetition time and rounds, floors or ceils."""
    found = []
    for path in sorted(DATA.rglob("*.py")):
        if path.name == "timing.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                text = ast.unparse(node)
                if name in {"round", "rint", "floor", "ceil", "around", "fix"} and "/ tr" in text:
                    found.append(f"{path.name}: {text}")
    assert not found
