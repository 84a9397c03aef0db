"""A control without a brain that scores higher than the decoder is named first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastbrain.evaluation import Score
from fastbrain.evaluation.report.table import metrics_table, no_brain_first
from fastbrain.stats import Interval

BLEU = Score(
    *("bleu1", "free-running", 0.3, 40, 0.4, "prompt alone", 0.9), interval=Interval(0.2, 0.35)
)
ERRORS = Score("wer", "free-running", 0.9, 40, 0.6, "majority text", 0.9, Interval(0.8, 0.95))


def test_scores_whose_interval_ends_before_the_control_are_named():
    said = no_brain_first([BLEU, ERRORS, replace(BLEU, metric="rougeL_f")])
    assert said.count("prompt alone") == 1
    assert said.startswith("Without this brain the text scores better than the decoder's: ")
    assert "prompt alone, BLEU-1 0.400 against 0.300 (95 % interval 0.200 to 0.350)" in said
    assert "majority text, " in said
    assert "0.600 against 0.900 (95 % interval 0.800 to 0.950)." in said
    main = replace(BLEU, control="deranged brain", chance=0.1)
    table = metrics_table([main, BLEU], derangements=100)
    assert table.startswith(no_brain_first([BLEU]))
    assert not metrics_table([main], derangements=100).startswith("Without")


@pytest.mark.parametrize(
    "score",
    [
        replace(BLEU, chance=0.35),
        replace(BLEU, interval=None),
        replace(BLEU, control="deranged brain"),
        replace(BLEU, control="nearest training text"),  # chosen by the brain
        replace(BLEU, group="subject 01"),
        replace(BLEU, metric="pairwise"),
        replace(ERRORS, chance=1.0),
        replace(ERRORS, chance=0.85),
    ],
)
def test_others_are_not(score):
    assert no_brain_first([score]) == ""
