"""Partners within a run: far enough away, of the same run, for a test part that is one run."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.data.readers.events import Trial
from fastbrain.errors import InputError
from fastbrain.evaluation.analyses.partners import (
    have_partners_across_runs,
    kept_apart,
    partners_within_runs,
)


def trials(*runs: tuple[str, list[int]], story: str = "") -> list[Trial]:
    return [
        Trial(f"{run}-{start}", run, "01", "", run, 2.0 * start, 2.0, start, 4, "", "a ball",
              guard_trs=6, story=story)
        for run, starts in runs
        for start in starts
    ]  # fmt: skip


def test_partners_are_of_the_same_run_and_far_away():
    # out of order, unevenly spaced, two runs of different lengths
    cohort = trials(("a", [40, 0, 5, 11, 16, 20, 27, 33]), ("b", [9, 1, 17, 25, 31]))
    partners = partners_within_runs(cohort, count=50, seed=3)
    assert partners.shape == (50, 13)
    for row in partners:
        assert sorted(row) == list(range(13))
        for i, j in enumerate(row):
            assert cohort[i].run_id == cohort[j].run_id
            assert abs(cohort[i].start - cohort[j].start) >= 6
    assert len(np.unique(partners, axis=0)) > 5
    assert np.array_equal(partners, partners_within_runs(cohort, count=50, seed=3))


def test_a_run_that_is_too_short_is_named():
    with pytest.raises(InputError, match="got 3 windows in a"):
        partners_within_runs(trials(("a", [0, 4, 8]), ("b", list(range(0, 80, 4)))), count=1)


@pytest.mark.parametrize(
    ("runs", "story", "expected"),
    [
        ([("a", [0, 9, 18])], "", False),
        ([("a", [0, 9]), ("b", [0, 9])], "", True),
        ([("a", [0, 9, 18]), ("b", [0, 9])], "", False),  # more than half in one run
        ([("a", [0, 9]), ("b", [0, 9])], "one story", False),
    ],
)
def test_whether_other_runs_have_partners(runs, story, expected):
    cohort = trials(*runs, story=story)
    assert have_partners_across_runs(cohort) is expected
    assert kept_apart(cohort) == (("run_id", "story") if story else ("run_id",))
