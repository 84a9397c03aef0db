"""The description of the filter of a store, and its warning where it removes much signal."""

from __future__ import annotations

from fastbrain.data import DriftFilter

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


def test_a_filter_that_comes_back_from_json_describes_itself_and_warns():
    chosen = DriftFilter.from_json(CHOSEN.to_json())
    facts = chosen.describe()
    assert facts["high-pass"] == "128 s"
    assert "face 36%, house 10%" in facts["it removes"]
    note = chosen.warning()
    assert note.startswith("high-pass 128 s removes more than 20% of what the training events")
    assert "face 36%" in note
    assert "house" not in note
