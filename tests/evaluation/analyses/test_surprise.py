"""Bins of surprise, on likelihoods whose pattern is known."""

from __future__ import annotations

import numpy as np
import pytest
from linear import Experiment, Ridge

from fastbrain.errors import InputError
from fastbrain.evaluation import by_surprise, run_controls, surprise_bins
from fastbrain.stats import derangements


def test_bins_are_equally_full_and_in_order():
    surprise = np.array([5.0, 1, 4, 2, 3, 6, 7])
    bins = surprise_bins(surprise, np.zeros(7), np.ones(7), blocks=range(7), bins=3)
    assert [(b.low, b.high, b.score.n) for b in bins] == [(1, 3, 3), (4, 5, 2), (6, 7, 2)]
    assert all(b.score.value == 1 for b in bins)


@pytest.mark.parametrize("shape", [(60,), (100, 60)])
def test_help_where_the_text_surprises(shape):
    """The brain helps the 20 most surprising texts and is a coin for all others."""
    rng = np.random.default_rng(1)
    surprise, blocks = rng.uniform(1, 5, 60), np.repeat(np.arange(12), 5)
    gain = np.where(surprise > np.sort(surprise)[39], 3.0, 0.0)
    true, other = rng.normal(size=60) - gain, rng.normal(size=shape)
    low, middle, high = (
        b.score for b in surprise_bins(surprise, true, other, blocks=blocks, bins=3)
    )
    assert high.value > 0.9
    assert high.p < 0.05
    assert high.interval.low > 0.75
    for score in (low, middle):
        assert abs(score.value - 0.5) < 0.25
        assert score.p > 0.05
        assert score.chance == 0.5


def test_surprise_of_a_pass_is_that_of_the_untuned_model():
    experiment = Experiment.draw(1.0)
    partners = derangements(experiment.blocks)
    found = run_controls(
        Ridge(experiment.train, experiment.train_texts),
        {"true brain": experiment.test},
        experiment.texts,
        partners,
        blocks=experiment.blocks,
    )
    curve = by_surprise(found, bins=4)
    level = np.sort(found["untuned model"].nll)
    assert [part.low for part in curve] == level[::30].tolist()
    whole = found.pairwise().value
    assert np.mean([part.score.value for part in curve]) == pytest.approx(whole)
    assert by_surprise(found, control="prompt alone", bins=1)[0].score.control == "prompt alone"


@pytest.mark.parametrize(
    ("surprise", "bins", "match"),
    [(np.arange(4.0), 5, "bins must be"), (np.full(4, np.nan), 2, "finite"), ([1.0], 1, "finite")],
)
def test_bad_surprise_is_refused(surprise, bins, match):
    with pytest.raises(InputError, match=match):
        surprise_bins(surprise, np.zeros(4), np.zeros(4), blocks=range(4), bins=bins)
