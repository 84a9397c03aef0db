"""Evidence on a closed set: known weights, the better model is kept, nothing from noise."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.decoding import fit_closed_set
from fastbrain.errors import InputError

SENTENCES = 8


def brains(n, seed, strength):
    """Scores of two models that carry the true sentences with these strengths; the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, SENTENCES, n)
    own = np.eye(SENTENCES)[truth]
    lm, readout = (s * own + rng.standard_normal((n, SENTENCES)) for s in strength)
    return lm, readout, truth


def accuracy(scores, truth):
    return float((scores.argmax(axis=1) == truth).mean())


def test_weights_of_gaussian_scores_are_recovered():
    # the posterior of a shift s in unit noise has the weight s
    lm, readout, truth = brains(20_000, 0, (1.0, 2.0))
    evidence = fit_closed_set(3.0 * lm, readout, truth)
    # standard error 3 %
    assert 3.0 * evidence.lm_weight == pytest.approx(1.0, rel=0.08)
    assert evidence.weight == pytest.approx(2.0, rel=0.08)
    assert evidence.nll < evidence.lm_nll
    assert evidence.brains == 20_000


def test_posterior_sums_to_one():
    lm, readout, truth = brains(49, 1, (1.0, 1.0))
    found = fit_closed_set(lm, readout, truth).log_posterior(lm[:5], readout[:5])
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [0.001, 1.0, 1000.0])
def test_evidence_of_the_better_model_is_kept(seed, scale):
    # an overconfident language model does not drown the read-out
    lm, readout, truth = brains(49, seed, (1.0, 3.0))
    evidence = fit_closed_set(scale * lm, readout, truth)
    lm, readout, truth = brains(4000, seed + 90, (1.0, 3.0))
    fused = accuracy(evidence.log_posterior(scale * lm, readout), truth)
    assert fused >= max(accuracy(lm, truth), accuracy(readout, truth)) - 0.01
    assert fused > accuracy(lm, truth) + 0.3


@pytest.mark.parametrize("seed", range(4))
def test_noise_brains_stay_at_chance(seed):
    evidence = fit_closed_set(*brains(49, seed, (1.0, 3.0)))
    lm, readout, truth = brains(4000, seed + 90, (0.0, 0.0))
    # four standard errors of 4000 draws
    assert accuracy(evidence.log_posterior(lm, readout), truth) == pytest.approx(1 / 8, abs=0.021)


def test_readout_of_noise_gets_little_weight():
    lm, readout, truth = brains(2000, 5, (2.0, 0.0))
    evidence = fit_closed_set(lm, readout, truth)
    assert evidence.lm_weight == pytest.approx(2.0, rel=0.15)
    assert evidence.weight <= 0.1


def test_weights_are_not_negative_and_finite():
    lm, readout, truth = brains(25, 6, (40.0, -3.0))
    evidence = fit_closed_set(lm, readout, truth)
    assert evidence.weight == 0
    assert 0 < evidence.lm_weight < 10
    flat = fit_closed_set(np.zeros((25, 8)), np.zeros((25, 8)), truth)
    assert flat.nll == pytest.approx(np.log(8))


@pytest.mark.parametrize(
    ("lm", "readout", "truth"),
    [
        (np.zeros((3, 4)), np.zeros((3, 5)), [0, 1, 2]),
        (np.zeros((3, 4)), np.zeros((3, 4)), [0, 1]),
        (np.zeros((3, 1)), np.zeros((3, 1)), [0, 0, 0]),
        (np.zeros((0, 4)), np.zeros((0, 4)), []),
        (np.full((3, 4), np.nan), np.zeros((3, 4)), [0, 1, 2]),
        (np.zeros((3, 4)), np.full((3, 4), np.inf), [0, 1, 2]),
        (np.zeros((3, 4)), np.zeros((3, 4)), [0, 1, 4]),
        (np.zeros((3, 4)), np.zeros((3, 4)), [0, 1, -1]),
        (np.zeros((3, 4)), np.zeros((3, 4)), [[0], [1], [2]]),
    ],
)
def test_wrong_scores_are_refused(lm, readout, truth):
    with pytest.raises(InputError, match="fit_closed_set: "):
        fit_closed_set(lm, readout, np.array(truth, dtype=np.int64))


def test_columns_are_integers():
    with pytest.raises(InputError, match="as integers"):
        fit_closed_set(np.zeros((2, 4)), np.zeros((2, 4)), np.array([True, False]))


@pytest.mark.parametrize("seed", range(6))
def test_a_language_model_that_adds_nothing_has_no_weight(seed):
    lm, readout, truth = brains(48, seed, (0.0, 3.0))
    runs = np.arange(48) // 8
    evidence = fit_closed_set(lm, readout, truth, groups=runs.tolist())
    assert evidence.groups == 6
    # noise gains more than one standard error in a sixth of the cases, and then little
    assert evidence.lm_weight == 0 or evidence.gain < 0.05
    assert evidence.weight > 1


def test_a_language_model_that_adds_something_keeps_its_weight():
    lm, readout, truth = brains(48, 3, (3.0, 1.5))
    runs = (np.arange(48) // 8).tolist()
    evidence = fit_closed_set(lm, readout, truth, groups=runs)
    assert evidence.gain > evidence.gain_error > 0
    plain = fit_closed_set(lm, readout, truth)
    assert (evidence.lm_weight, evidence.weight) == (plain.lm_weight, plain.weight)
    assert plain.groups == 0


@pytest.mark.parametrize("groups", [["a"] * 9, ["a", "b"], [1.0, float("nan"), *[2.0] * 7]])
def test_wrong_groups_are_refused(groups):
    with pytest.raises(InputError, match="fit_closed_set: groups"):
        fit_closed_set(*brains(9, 0, (1.0, 1.0)), groups=groups)
