"""Brains that know nothing are like the true one in what they promise to be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_run import VOLUMES

from fastbrain.data import WindowLoader
from fastbrain.errors import InputError
from fastbrain.evaluation import Moments, gaussian_noise, noise_store, phase_randomised, zero_brain
from fastbrain.evaluation.controls.noise import noisier_store


def _series(*shape: int, dtype=np.float64) -> np.ndarray:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(shape[-1], shape[-1]))
    return (np.cumsum(rng.normal(size=shape), axis=0) @ mixing + 5).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("length", [3, 4, 64, 65])
def test_spectrum_mean_and_spatial_covariance_are_kept(length, dtype):
    series = _series(length, 6, dtype=dtype)
    noise = phase_randomised(series, seed=1)
    assert noise.dtype == dtype
    before, after = np.fft.rfft(series, axis=0), np.fft.rfft(noise, axis=0)
    largest = np.abs(before).max()
    np.testing.assert_allclose(np.abs(after), np.abs(before), rtol=0, atol=1e-5 * largest)
    # cross-spectra too: one angle for all voxels
    cross = before[:, :, None] * before[:, None].conj()
    np.testing.assert_allclose(
        after[:, :, None] * after[:, None].conj(), cross, rtol=0, atol=1e-5 * largest**2
    )
    np.testing.assert_allclose(noise.mean(axis=0), series.mean(axis=0), rtol=1e-5)
    scale = np.abs(np.cov(series.T)).max()
    np.testing.assert_allclose(np.cov(noise.T), np.cov(series.T), rtol=0, atol=1e-5 * scale)
    assert np.abs(noise - series).max() > 0.01 * series.std()


def test_time_is_lost():
    series = _series(2000, 4)
    series = np.diff(series, axis=0)
    noise = phase_randomised(series)
    assert abs(np.corrcoef(series[:, 0], noise[:, 0])[0, 1]) < 0.1


def test_many_voxels_are_turned_in_parts_by_the_same_angles():
    series = np.tile(_series(9, 1), (1, 20_000))
    noise = phase_randomised(series)
    assert np.ptp(noise, axis=1).max() < 1e-9


def test_runs_and_windows_have_angles_of_their_own():
    series = np.tile(_series(10, 3), (2, 1))
    noise = phase_randomised(series, blocks=["a"] * 10 + ["b"] * 10)
    assert not np.allclose(noise[:10], noise[10:])
    windows = np.stack([_series(5, 2, 3)] * 2)
    noise = phase_randomised(windows, axis=1)
    assert not np.allclose(noise[0], noise[1])
    spectra = np.abs(np.fft.rfft(noise, axis=1))
    np.testing.assert_allclose(spectra, np.abs(np.fft.rfft(windows, axis=1)), rtol=1e-5)


@pytest.mark.parametrize("frames", [1, 2])
def test_windows_too_short_for_a_phase_are_refused(frames):
    with pytest.raises(InputError, match="at least 3 volumes"):
        phase_randomised(torch.zeros(4, frames, 2, 3, dtype=torch.int16), axis=1)


def test_bad_series_are_refused():
    with pytest.raises(InputError, match="finite"):
        phase_randomised([[np.nan], [1.0], [2.0]])
    with pytest.raises(InputError, match="all 3 rows"):
        phase_randomised(np.zeros((3, 2)), blocks="ab")


def test_gaussian_noise_has_the_moments_of_the_training_part():
    train = _series(500, 3, 4)
    moments = Moments.of(train, fitted_on="train")
    noise = gaussian_noise(40_000, moments, seed=2)
    assert noise.shape == (40_000, 3, 4)
    # standard error of a mean over 40,000 draws is 0.005 sd
    assert (np.abs(noise.mean(axis=0) - moments.mean) < 0.03 * moments.std).all()
    np.testing.assert_allclose(noise.std(axis=0), moments.std, rtol=0.03)
    assert moments.fitted_on == "train"


def test_zero_brain_is_the_training_mean():
    moments = Moments.of(_series(5, 4), fitted_on="train")
    np.testing.assert_allclose(zero_brain(2, moments), np.stack([moments.mean] * 2), rtol=1e-6)


@pytest.fixture
def windows(store):
    def read(view) -> np.ndarray:
        loader = WindowLoader(view, store.split.test, batch_size=32, shuffle=False)
        (batch,) = loader
        assert batch.texts == tuple(store.by_id[t].text for t in store.split.test)
        return batch.voxels.numpy().astype(float) * store.scale

    return read


def test_store_of_zero_brains(store, windows):
    z = (windows(noise_store(store, "zero brain")) - store.mean) * store.inv_std
    # rounding to stored steps is all that is left
    assert np.abs(z).max() <= 0.5 * store.scale * store.inv_std.max() * (1 + 1e-5)


def test_store_of_gaussian_brains(store, windows):
    noise = windows(noise_store(store, "noise brain", seed=3))
    z = ((noise - store.mean) * store.inv_std)[..., store.grid.patch_mask]
    assert abs(z.mean()) < 0.02
    assert z.std() == pytest.approx(1, abs=0.02)
    assert (noise == windows(noise_store(store, "noise brain", seed=3))).all()
    assert (noise != windows(noise_store(store, "noise brain", seed=4))).any()


def test_store_of_phase_randomised_brains(store, windows):
    view = noise_store(store, "phase-randomised brain")
    run_id = store.by_id[store.split.test[0]].run_id
    before, after = (np.abs(np.fft.rfft(s.run(run_id), axis=0)) for s in (store, view))
    # stored values are rounded to whole steps: half a step of noise spread over the volumes
    np.testing.assert_allclose(after, before, rtol=0, atol=0.5 * VOLUMES**0.5 * 4)
    changed = windows(view)
    outside = ~store.grid.patch_mask
    assert (changed[..., outside] == 0).all()
    assert abs(np.corrcoef(changed.ravel(), windows(store).ravel())[0, 1]) < 0.2


def test_runs_have_gaussian_noise_of_their_own(store):
    view = noise_store(store, "noise brain")
    one, other = (view.run(r).copy() for r in list(store.info.runs)[:2])
    assert (one != other).any()


def test_runs_have_angles_of_their_own(store):
    def angles(run_id: str) -> np.ndarray:
        before, after = (
            np.fft.rfft(s.run(run_id).reshape(VOLUMES, -1), axis=0)[1 : VOLUMES // 2]
            for s in (store, noise_store(store, "phase-randomised brain"))
        )
        # all voxels are turned by one angle: its mean is free of the rounding of single voxels
        return np.angle((after * before.conj()).sum(axis=1))

    one, same, other = (angles(r) for r in np.array(list(store.info.runs))[[0, 0, 1]])
    np.testing.assert_array_equal(one, same)
    assert np.abs(np.exp(1j * one) - np.exp(1j * other)).max() > 0.5


def test_unknown_noise_is_refused(store):
    with pytest.raises(InputError, match="kind must be one of"):
        noise_store(store, "pink brain")


@pytest.mark.parametrize("level", [0.0, 0.5, 3.0])
def test_added_noise_has_its_share_of_the_variance_and_the_covariance_of_the_recording(
    store, level
):
    view = noisier_store(store, level, seed=1)
    run_id = next(iter(store.info.runs))
    stored = np.asarray(store.run(run_id), dtype=np.float64)
    added = view.run(run_id) - stored
    flat, noise = stored.reshape(len(stored), -1), added.reshape(len(stored), -1)
    if level == 0:
        assert not noise.any()
        return
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=0.25)  # rounding: 0.05 a voxel
    # every voxel keeps its spectrum, up to rounding: 1/12 of a unit squared
    np.testing.assert_allclose(noise.var(axis=0), level**2 * flat.var(axis=0), rtol=0.05, atol=0.2)
    scale = level**2 * np.abs(np.cov(flat[:, :50].T)).max()
    np.testing.assert_allclose(
        np.cov(noise[:, :50].T), level**2 * np.cov(flat[:, :50].T), rtol=0, atol=0.01 * scale + 0.2
    )
    again = noisier_store(store, level, seed=2).run(run_id)
    assert (again != view.run(run_id)).any()


@pytest.mark.parametrize("level", [-0.1, float("nan"), float("inf")])
def test_a_noise_level_is_a_number_from_zero_on(store, level):
    with pytest.raises(InputError, match="noisier_store: level must be"):
        noisier_store(store, level)
