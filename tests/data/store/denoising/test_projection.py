"""Drifts and confounds are removed in one projection, fitted to the volumes that are kept."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.data.store.denoising.drifts import drift_basis
from fastbrain.data.store.denoising.projection import projection_of
from fastbrain.errors import InputError

N, TR_S, HIGH_PASS_S = 121, 2.0, 70.0
TOLERANCE = 1e-4  # float32 basis of unit columns, signals of order 1


def residual(x, projection):
    return x - projection.basis.astype(float) @ (projection.fit.astype(float).T @ x)


def design(confounds):
    return np.concatenate([drift_basis(N, TR_S, HIGH_PASS_S).astype(float), confounds], axis=1)


@pytest.fixture
def confounds():
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(size=(N, 7)), axis=0)
    return 1e3 + walk * np.logspace(-3, 2, 7)


@pytest.mark.parametrize("censor", [0.0, 0.1, 0.4])
def test_residuals_are_those_of_joint_least_squares(confounds, censor):
    rng = np.random.default_rng(1)
    censored = rng.random(N) < censor
    x = rng.normal(size=(N, 9))
    full = design((confounds - confounds.mean(0)) / confounds.std(0))
    weights = np.linalg.lstsq(full[~censored], x[~censored], rcond=None)[0]
    found = projection_of(N, TR_S, HIGH_PASS_S, confounds, censored)
    np.testing.assert_allclose(residual(x, found), x - full @ weights, atol=TOLERANCE)
    assert found.confounds == 7
    assert found.dependent == 0


def test_censored_volumes_do_not_change_the_others(confounds):
    rng = np.random.default_rng(2)
    censored = rng.random(N) < 0.2
    x = rng.normal(size=(N, 3))
    found = projection_of(N, TR_S, HIGH_PASS_S, confounds, censored)
    moved = np.where(censored[:, None], 1e3, x)
    np.testing.assert_array_equal(residual(x, found)[~censored], residual(moved, found)[~censored])


def test_two_steps_would_bring_the_drift_back(confounds):
    """Why one projection: filtered data minus unfiltered confounds has drift again."""
    x = np.random.default_rng(3).normal(size=(N, 5))
    drifts = drift_basis(N, TR_S, HIGH_PASS_S).astype(float)
    joint = residual(x, projection_of(N, TR_S, HIGH_PASS_S, confounds))
    assert np.abs(drifts.T @ joint).max() < TOLERANCE
    filtered = x - drifts @ (drifts.T @ x)
    raw = confounds - confounds.mean(0)
    stepwise = filtered - raw @ np.linalg.lstsq(raw, filtered, rcond=None)[0]
    assert np.abs(drifts.T @ stepwise).max() > 0.1


def test_columns_that_add_nothing_are_left_out(confounds):
    rng = np.random.default_rng(4)
    drifts = drift_basis(N, TR_S, HIGH_PASS_S).astype(float)
    useless = np.stack(
        [
            np.full(N, 7.0),
            np.zeros(N),
            3 * confounds[:, 0] - confounds[:, 1],
            drifts[:, 2] * 40,
            confounds[:, 3],
        ],
        axis=1,
    )
    x = rng.normal(size=(N, 4))
    plain = projection_of(N, TR_S, HIGH_PASS_S, confounds)
    more = projection_of(N, TR_S, HIGH_PASS_S, np.concatenate([confounds, useless], axis=1))
    assert more.confounds == 7
    assert more.dependent == 5
    np.testing.assert_allclose(residual(x, more), residual(x, plain), atol=TOLERANCE)


def test_a_column_that_varies_in_censored_volumes_only_is_left_out():
    censored = np.zeros(N, dtype=bool)
    censored[[4, 50]] = True
    found = projection_of(N, TR_S, HIGH_PASS_S, np.where(censored, 5.0, 1.0)[:, None], censored)
    assert found.confounds == 0
    assert found.dependent == 1
    assert np.abs(found.basis).max() < 10


@pytest.mark.parametrize("confounds", [None, np.zeros((N, 0))])
def test_without_confounds_it_is_the_filter_alone(confounds):
    found = projection_of(N, TR_S, HIGH_PASS_S, confounds, np.zeros(N, dtype=bool))
    np.testing.assert_array_equal(found.basis, drift_basis(N, TR_S, HIGH_PASS_S))
    assert found.fit is found.basis
    assert found.confounds == 0


def test_too_many_regressors_or_censored_volumes_are_refused():
    rng = np.random.default_rng(5)
    with pytest.raises(InputError, match="fifth of the volumes must be left"):
        projection_of(N, TR_S, HIGH_PASS_S, rng.normal(size=(N, 100)))
    censored = np.arange(N) > 8
    with pytest.raises(InputError, match="not censored"):
        projection_of(N, TR_S, HIGH_PASS_S, None, censored)
    with pytest.raises(InputError, match="finite"):
        projection_of(N, TR_S, HIGH_PASS_S, np.full((N, 2), np.nan))
    with pytest.raises(InputError, match="121 volumes"):
        projection_of(N, TR_S, HIGH_PASS_S, np.ones((N - 1, 2)))
