"""Figures for print: the width of a column or of the text, and no label outside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastbrain.evaluation.analyses.surprise import SurpriseBin
from fastbrain.evaluation.report import figures
from fastbrain.evaluation.report.print_style import DOUBLE_MM, SINGLE_MM, saved
from fastbrain.evaluation.scores import Score
from fastbrain.grid import TokenGrid
from fastbrain.layout import TokenLayout
from fastbrain.stats.inference import Interval

pytest.importorskip("matplotlib")


def people(count: int) -> list[Score]:
    interval = Interval(0.4, 0.8)
    groups = [*(f"subject a-long-label-{i:02d}" for i in range(count)), "people"]
    return [
        Score("pairwise", "teacher-forced", 0.6, 9, 0.5, "deranged brain", 0.1, interval, group=g)
        for g in groups
    ]


def _figures():
    score = people(1)[0]
    grid = TokenGrid.from_mask(np.ones((5, 6, 7), dtype=bool), (2, 3, 3))
    names = ("phase-randomised brain", "nearest training text")
    rows = [
        replace(score, metric=metric, mode="free-running", control=control, group="")
        for metric in ("bleu1", "rougeL_f", "wer", "bertscore_f")
        for control in names
    ]
    history = {
        f"stage{i}": [{"epoch": e, "a_long_name_loss": 1 / e, "val_loss": None} for e in (1, 2)]
        for i in range(5)
    }
    squares = TokenLayout(
        np.arange(8, dtype=np.int64).reshape(4, 2),
        np.array([[-9.0, 0, 0], [-9, 9, 0], [9, 0, 0], [9, 9, 0]]),
        locations=8,
        geometry="surface",
        names=["CORTEX_LEFT"] * 2 + ["CORTEX_RIGHT"] * 2,
        positions="flat",
    )
    return {
        "forest": lambda: figures.forest(rows),
        "one panel": lambda: figures.forest(rows[:2]),
        "subjects": lambda: figures.subjects(people(3)),
        "surprise": lambda: figures.surprise_curve(
            [SurpriseBin(i, i + 1, replace(score, group="")) for i in range(3)]
        ),
        "projections": lambda: figures.brain(grid, np.linspace(0, 1, grid.n_tokens), None),
        "flat maps": lambda: figures.brain(squares, np.linspace(0, 1, 4), None),
        "curves": lambda: figures.curves(history),
        "one stage": lambda: figures.curves({"tune": history["stage0"]}),
    }


@pytest.mark.parametrize("name", _figures())
def test_no_label_is_clipped(name):
    figure = _figures()[name]()
    saved(figure, "pdf")  # lays it out
    width, height = figure.get_size_inches()
    box = figure.get_tightbbox()
    assert round(width * 25.4) in (SINGLE_MM, DOUBLE_MM)
    slack = 0.02  # inches; lines may end on the border
    assert box.x0 >= -slack
    assert box.y0 >= -slack
    assert box.x1 <= width + slack
    assert box.y1 <= height + slack


def test_one_person_needs_no_picture():
    assert figures.subjects(people(1)) is None
    assert figures.curves({}) is None
