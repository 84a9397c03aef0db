"""Evidence on whole sentences: a known posterior, and nothing from noise."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.decoding.sentences import fit_evidence
from fastbrain.decoding.sentences.readout import two_way
from fastbrain.errors import InputError
from fastbrain.stats.unit_rows import unit_rows


def vectors(n, seed, size=24):
    return unit_rows(np.random.default_rng(seed).standard_normal((n, size)))


def test_the_likelihood_is_normalised_over_written_texts():
    truth = vectors(40, 0)
    predicted = unit_rows(truth + 0.6 * vectors(40, 1))
    written = vectors(64, 2)
    evidence = fit_evidence(predicted, truth, written)
    assert evidence.weight > 0
    ratio = evidence.log_ratio(predicted, written)
    np.testing.assert_allclose(np.exp(ratio).mean(axis=1), 1.0, rtol=1e-12)
    own = np.diag(evidence.log_ratio(predicted, truth))
    np.testing.assert_allclose(own.mean(), evidence.gain, rtol=1e-12)
    assert 1 <= evidence.effective <= 64


def test_no_brain_changes_no_likelihood():
    evidence = fit_evidence(vectors(9, 0), vectors(9, 0), vectors(33, 2))
    np.testing.assert_array_equal(
        evidence.log_ratio(np.zeros((2, 24)), vectors(5, 3)), np.zeros((2, 5))
    )


def test_noise_gets_no_weight():
    gains = [
        fit_evidence(vectors(300, seed), vectors(300, seed + 50), vectors(200, seed + 90))
        for seed in range(3)
    ]
    # chance correlation of 300 pairs allows a small weight, far below that of a read-out
    assert max(found.weight for found in gains) <= 2
    assert max(found.gain for found in gains) < 0.05


@pytest.mark.parametrize(
    ("predicted", "truth", "written"),
    [((3, 4), (2, 4), (2, 4)), ((3, 4), (3, 4), (2, 5)), ((0, 4), (0, 4), (2, 4))],
)
def test_wrong_shapes_are_refused(predicted, truth, written):
    with pytest.raises(InputError, match="fit_evidence: "):
        fit_evidence(np.zeros(predicted), np.zeros(truth), np.zeros(written))


def test_two_way_counts_ties_a_half():
    assert two_way(np.eye(5)) == 1.0
    assert two_way(np.zeros((4, 4))) == 0.5


def test_noise_has_no_weight_where_the_model_writes_unlike_the_texts():
    rng = np.random.default_rng(0)
    weights = []
    for _ in range(20):
        truth, predicted = unit_rows(rng.standard_normal((2, 48, 24)))
        # all that is written lies to one side of the texts
        written = unit_rows(rng.standard_normal((64, 24)) * 0.3 + truth.mean(axis=0) * 2 + 0.3)
        groups = np.repeat(np.arange(8), 6).tolist()
        fitted = fit_evidence(predicted, truth, written, groups=groups)
        weights.append(fitted.weight)
    # a gain of chance exceeds one standard error in one of six; binomial of 20: up to 8 (0.5 %)
    assert np.count_nonzero(weights) <= 8


def test_groups_are_of_all_texts():
    rows = unit_rows(np.random.default_rng(0).standard_normal((4, 3)))
    with pytest.raises(InputError, match="groups must be of 4"):
        fit_evidence(rows, rows, rows, groups=[0, 1])
