"""A report says which filter the store had, and warns where it took the signal."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fastbrain.data import DriftFilter
from fastbrain.evaluation.run import _filter_facts, _filter_notes

CHOSEN = DriftFilter(
    high_pass_s=128.0,
    asked=128.0,
    runs=("r1", "r2"),
    trials=20,
    removed={"face": 0.36, "house": 0.1},
    stimuli={"n": 20, "median": 0.3, "worst": 0.5},
    worst_stimulus="face-1",
    usual=0.36,
    line=0.08,
    spares=None,
)


def store(chosen, seconds=128.0):
    return SimpleNamespace(info=SimpleNamespace(filter=chosen, high_pass_s=seconds))


def test_a_report_shows_the_filter_and_its_shares():
    facts = _filter_facts(store(CHOSEN.to_json()))
    assert facts["high-pass"] == "128 s"
    assert "face 36%, house 10%" in facts["it removes"]
    (note,) = _filter_notes(store(CHOSEN.to_json()))
    assert note.startswith("high-pass 128 s removes more than 20% of what the training events")
    assert "face 36%" in note
    assert "house" not in note


@pytest.mark.parametrize(("seconds", "said"), [(128.0, "128 s"), (None, "none (a line alone)")])
def test_a_store_of_before_shows_the_period_alone(seconds, said):
    assert _filter_facts(store({}, seconds)) == {"high-pass": said}
    assert _filter_notes(store({}, seconds)) == ()
