"""Splits of the tiny cohorts of tests."""

from __future__ import annotations

from collections.abc import Sequence

from fastbrain.data import Split, Trial, split_by


def by_run(trials: Sequence[Trial]) -> Split:
    """Train on run 01 of each person, validate on 02, test on 03."""
    return split_by(trials, "run", train=["01"], val=["02"], test=["03"])
