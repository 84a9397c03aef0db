"""Recursive fits of drifts against least squares over all volumes at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastbrain.data.store.denoising.drifts import drift_basis
from fastbrain.errors import InputError
from fastbrain.realtime.preprocess.drift import DriftFit
from fastbrain.realtime.preprocess.moments import Moments

TR = 1.5
V = 5
# the regressors are float32, as they are for whole runs
ROUNDING = 1e-5


def series(n, seed=0):
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 1, n)[:, None]
    return 1000 + 20 * rng.normal(size=V) * t + rng.normal(size=(n, V))


def pushed(fit, values, skipped=()):
    for i, row in enumerate(values):
        if i not in skipped:
            fit.update(i, torch.from_numpy(row))
    return fit


@pytest.mark.parametrize("high_pass_s", [None, 60.0, 128.0])
@pytest.mark.parametrize("n", [11, 101])
def test_the_fit_of_a_whole_run_is_that_of_all_its_volumes(n, high_pass_s):
    values = series(n)
    fit = pushed(DriftFit.of_run(n, V, tr=TR, high_pass_s=high_pass_s), values)
    basis = drift_basis(n, TR, high_pass_s).astype(np.float64)
    wanted = values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0]
    found = fit.residuals(np.arange(n), torch.from_numpy(values))
    np.testing.assert_allclose(found, wanted, atol=ROUNDING)
    np.testing.assert_allclose(fit.spread(), wanted.std(axis=0), atol=ROUNDING)
    np.testing.assert_allclose(fit.moments.mean, values.mean(axis=0), rtol=1e-12)


def test_a_short_past_loses_as_many_drifts_as_a_run_of_its_length():
    fit = DriftFit.of_run(200, V, tr=TR, high_pass_s=60.0)
    for n in range(1, 201):
        fit.update(n - 1, torch.zeros(V, dtype=torch.float64))
        assert fit.drifts == 1 + int(2 * n * TR / 60.0 + 1e-6)


def test_a_past_without_cosines_loses_its_line_alone():
    n = 20
    values = series(n)
    fit = pushed(DriftFit.of_run(400, V, tr=TR, high_pass_s=128.0), values)
    basis = drift_basis(n, TR, None).astype(np.float64)
    wanted = values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0]
    found = fit.residuals(np.arange(n), torch.from_numpy(values))
    np.testing.assert_allclose(found, wanted, atol=ROUNDING)


def test_missing_volumes_are_left_out_of_the_fit():
    n, skipped = 40, (7, 8, 30)
    values = series(n)
    fit = pushed(DriftFit.endless(V, tr=TR, high_pass_s=None, memory_s=1e6), values, skipped)
    kept = np.setdiff1d(np.arange(n), skipped)
    basis = np.stack([np.ones(n), np.arange(n)], axis=1)
    found = np.linalg.lstsq(basis[kept], values[kept], rcond=None)[0]
    left = fit.residuals(np.arange(n), torch.from_numpy(values))
    # observations decay by 6e-5 over the run
    np.testing.assert_allclose(left, values - basis @ found, atol=1e-3)


def test_forgetting_weighs_observations_by_their_age():
    n, memory_s = 50, 20.0
    values = series(n)
    fit = pushed(DriftFit.endless(V, tr=TR, high_pass_s=None, memory_s=memory_s), values)
    weights = np.exp(-TR * np.arange(n)[::-1] / memory_s)
    root = np.sqrt(weights)[:, None]
    basis = np.stack([np.ones(n), np.arange(n)], axis=1)
    found = np.linalg.lstsq(root * basis, root * values, rcond=None)[0]
    wanted = values - basis @ found
    left = fit.residuals(np.arange(n), torch.from_numpy(values))
    np.testing.assert_allclose(left, wanted, atol=ROUNDING)
    spread = np.sqrt((weights[:, None] * wanted**2).sum(axis=0) / weights.sum())
    np.testing.assert_allclose(fit.spread(), spread, atol=ROUNDING)


def test_spread_of_a_ridge_is_that_of_its_residuals():
    n, memory_s = 60, 480.0
    values = series(n)
    fit = pushed(DriftFit.endless(V, tr=TR, high_pass_s=30.0, memory_s=memory_s), values)
    left = fit.residuals(np.arange(n), torch.from_numpy(values)).numpy()
    weights = np.exp(-TR * np.arange(n)[::-1] / memory_s)
    spread = np.sqrt(np.average(left**2, axis=0, weights=weights))
    np.testing.assert_allclose(fit.spread(), spread, rtol=1e-6)


def test_a_memory_of_too_many_regressors_is_refused():
    with pytest.raises(InputError, match="memory_s must be at most 16"):
        DriftFit.endless(V, tr=TR, high_pass_s=30.0, memory_s=481.0)


def test_a_drift_of_any_length_is_followed():
    """After two hours, at most a fifth is left of a wave of 900 s: the price of the ridge."""
    n = 4800
    wave = 1000 + 100 * np.sin(2 * np.pi * np.arange(n)[:, None] * TR / 900 + np.arange(V))
    fit = pushed(DriftFit.endless(V, tr=TR, high_pass_s=128.0, memory_s=256.0), wave)
    left = fit.residuals(np.arange(n - 5, n), torch.from_numpy(wave[-5:])).numpy()
    assert np.abs(left).max() < 20


def test_a_run_too_short_for_its_filter_is_refused():
    with pytest.raises(InputError, match="volumes to remove"):
        DriftFit.of_run(4, V, tr=2.0, high_pass_s=8.0)


@pytest.mark.parametrize("kept", [1.0, 0.9])
def test_moments_are_those_of_numpy(kept):
    values = series(30)
    moments = Moments(V)
    for row in values:
        moments.update(torch.from_numpy(row), kept)
    weights = kept ** np.arange(30)[::-1]
    mean = np.average(values, axis=0, weights=weights)
    variance = np.average((values - mean) ** 2, axis=0, weights=weights)
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(moments.squares / moments.weight, variance, rtol=1e-9)
    assert moments.tsnr() == pytest.approx(np.median(mean / np.sqrt(variance)))


def test_tsnr_needs_volumes_that_vary():
    moments = Moments(V)
    for _ in range(8):
        assert moments.tsnr() is None
        moments.update(torch.ones(V, dtype=torch.float64))
    assert moments.tsnr() is None
