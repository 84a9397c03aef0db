"""Words to volumes: the filter's own values, and nothing above the scanner's clock."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.data import lanczos_downsample
from fastbrain.data.features.lanczos import lanczos_weights
from fastbrain.errors import InputError


def test_known_values():
    # sinc(1/2) sinc(1/6) = (2/pi) (3/pi) = 6/pi^2
    found = lanczos_weights([0.0, 0.5, 1.0, 2.0, 3.0, 4.0], [0.0])[:, 0]
    assert found == pytest.approx([1, 6 / np.pi**2, 0, 0, 0, 0], abs=1e-12)


def test_blocks_are_one_sum():
    rng = np.random.default_rng(0)
    features, times = rng.normal(size=(900, 3)), rng.uniform(-5, 1310, 900)
    found = lanczos_downsample(features, times, n_volumes=650, tr=2.0)
    whole = lanczos_weights(np.arange(650) + 0.5, times / 2) @ features
    np.testing.assert_allclose(found, whole, atol=1e-12)


def test_slow_passes_and_fast_does_not():
    times = np.arange(0, 400, 0.25)
    for period, gain in ((20.0, 1.0), (1.3, 0.0)):
        wave = np.sin(2 * np.pi * times / period)[:, None]
        found = lanczos_downsample(wave, times, n_volumes=200, tr=2.0)[10:-10] * 0.25 / 2
        assert np.sqrt(2) * found.std() == pytest.approx(gain, abs=0.06)


def test_refusals():
    for features, times, n, tr in (
        (np.ones(3), np.ones(3), 4, 2.0),
        (np.ones((3, 1)), np.ones(2), 4, 2.0),
        (np.ones((3, 1)), np.ones(3), 0, 2.0),
        (np.ones((3, 1)), np.ones(3), 4, 0.0),
    ):
        with pytest.raises(InputError, match="lanczos_downsample: features must be"):
            lanczos_downsample(features, times, n_volumes=n, tr=tr)
