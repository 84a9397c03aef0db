"""Evidence on whole sentences: a known posterior, and nothing from noise."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from fastbrain.decoding.sentences import fit_evidence
from fastbrain.decoding.sentences.evidence import doubt
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


def test_a_weight_at_the_bound_is_evident():
    # a prediction is nearer to its text than to any that is written
    truth = np.eye(6)[:3]
    told = "64 nats for a cosine of one, the largest that is tried"
    with pytest.warns(UserWarning, match=told) as caught:
        found = fit_evidence(truth, truth, -truth)
    assert found.weight == 64
    assert found.at_bound
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message=".*largest that is tried")
        within = fit_evidence(
            unit_rows(vectors(40, 0) + 2 * vectors(40, 1)), vectors(40, 0), vectors(64, 2)
        )
    assert 0 < within.weight < 64
    assert not within.at_bound


def test_a_normaliser_of_few_texts_is_evident():
    assert doubt(0.0, 1.0, 512) is None
    assert doubt(20.0, 21.0, 256) is None
    assert "1.1 effective texts of 512 normalise" in doubt(20.0, 1.13, 512)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_vectors_that_are_not_finite_are_refused(which):
    rows = [vectors(4, seed) for seed in range(3)]
    rows[which][1, 2] = np.nan
    with pytest.raises(InputError, match="must be finite"):
        fit_evidence(*rows)


def test_groups_need_names():
    rows = vectors(4, 0)
    with pytest.raises(InputError, match="fit_evidence: groups must be names"):
        fit_evidence(rows, rows, rows, groups=[0, 1, float("nan"), float("nan")])


@pytest.mark.parametrize(
    ("brains", "texts"), [((24,), (2, 24)), ((2, 24), (2, 23)), ((2, 23),) * 2]
)
def test_ratios_need_rows_of_the_written_width(brains, texts):
    found = fit_evidence(vectors(9, 0), vectors(9, 1), vectors(9, 2))
    with pytest.raises(InputError, match=r"SentenceEvidence.log_ratio: predicted and vectors"):
        found.log_ratio(np.zeros(brains), np.zeros(texts))
