"""Errors of scoring libraries become InputError, and the mean of an empty list is refused."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

from fastbrain.errors import InputError
from fastbrain.evaluation import (
    TEXT_METRICS,
    bleu,
    cut_to_reference_length,
    diversity,
    label_scores,
    mean_over_people,
    retrieval,
    rouge_l,
    scale_scores,
    text_scores,
)
from fastbrain.evaluation.metrics._external import foreign
from fastbrain.stats import bootstrap_interval, effect_size, permutation_p, sign_flip_p

METRIC = next(m for m in TEXT_METRICS if m.name == "rougeL_f")


@pytest.mark.parametrize("error", [ValueError, KeyError, RuntimeError, OSError, AssertionError])
def test_a_librarys_error_names_it_and_the_remedy(error):
    def rows(hypotheses, references):
        raise error("inside")

    with pytest.raises(InputError, match=r"text_scores: a metric's library .*inside") as caught:
        text_scores(["a", "b"], ["a", "c"], metrics=[replace(METRIC, rows=rows)])
    assert isinstance(caught.value.__cause__, error)


def test_errors_of_the_package_and_interrupts_pass():
    with pytest.raises(InputError, match=r"^as it was$"), foreign("f", "library", "remedy"):
        raise InputError("as it was")
    with pytest.raises(KeyboardInterrupt), foreign("f", "library", "remedy"):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "call",
    [
        lambda: text_scores([], []),
        lambda: bleu([], []),
        lambda: rouge_l([], []),
        lambda: cut_to_reference_length([], []),
        lambda: diversity([]),
        lambda: bootstrap_interval([]),
        lambda: permutation_p(1.0, []),
        lambda: sign_flip_p([]),
        lambda: effect_size([]),
        lambda: retrieval(np.empty((0, 0)), []),
        lambda: scale_scores([], []),
        lambda: label_scores([], np.empty((0, 2)), ["a", "b"]),
    ],
)
def test_a_mean_of_nothing_is_refused(call):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError):
            call()


def test_no_people_have_no_mean():
    assert mean_over_people([]) == []


def test_texts_without_words_score_zero_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = text_scores(["", " "], ["", "a"], metrics=[m for m in TEXT_METRICS if not m.needs])
        assert all(np.isfinite(f.score.value) for f in found.values())
        assert diversity(["", ""]).distinct1 == 0.0
