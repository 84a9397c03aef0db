"""Recover known motion of a simulated head."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from simulated_head import affine_of, head

from fastbrain.errors import InputError
from fastbrain.realtime.preprocess import rigid_matrix
from fastbrain.realtime.preprocess.motion import MotionEstimator

SHAPE = (29, 47, 39)
AFFINE = affine_of(SHAPE, (4.0, 4.0, 4.5))
NOISE = 10.0  # 1 % of the intensity
# twice the worst of 40 motions of 0.1 to 3 mm and degrees, with and without noise: 0.049 mm, 0.080
# degrees (median 0.015 mm); the rest is the linear interpolation of voxels of 4 mm
ACCURACY_MM, ACCURACY_DEGREES = 0.1, 0.16


def noisy(values, seed):
    return (values + np.random.default_rng(seed).normal(0, NOISE, SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def estimator():
    return MotionEstimator(noisy(head(SHAPE, AFFINE), 0), AFFINE)


def check(found, wanted):
    assert found.converged
    error = np.abs(found.parameters - wanted)
    assert error[:3].max() < ACCURACY_MM
    assert np.rad2deg(error[3:]).max() < ACCURACY_DEGREES


@pytest.mark.parametrize("size", [0.1, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_known_motion_is_recovered(estimator, size, seed):
    wanted = np.random.default_rng(seed).uniform(-size, size, 6)
    wanted[3:] = np.deg2rad(wanted[3:])
    moved = head(SHAPE, AFFINE, motion=rigid_matrix(wanted, estimator.centre))
    check(estimator.estimate(noisy(moved, seed + 1), np.zeros(6)), wanted)


@pytest.mark.parametrize("axis", range(6))
def test_each_axis_is_found_with_its_sign(estimator, axis):
    wanted = np.zeros(6)
    wanted[axis] = 2.0 if axis < 3 else np.deg2rad(2)
    moved = head(SHAPE, AFFINE, motion=rigid_matrix(wanted, estimator.centre))
    check(estimator.estimate(noisy(moved, 7), np.zeros(6)), wanted)


def test_no_motion_is_found_in_the_reference_and_in_a_repeat(estimator):
    plain = head(SHAPE, AFFINE)
    still = MotionEstimator(plain, AFFINE).estimate(plain, np.zeros(6))
    assert np.abs(still.parameters).max() < 1e-6
    check(estimator.estimate(noisy(plain, 8), np.zeros(6)), np.zeros(6))


def test_signs_and_units_agree_with_an_independent_interpolation(estimator):
    """scipy moves the voxels of the image; nothing of the package is used but the centre."""
    wanted = np.array([1.5, -1.0, 2.0, np.deg2rad(1.5), np.deg2rad(-1), np.deg2rad(2)])
    rotation = pytest.importorskip("scipy.spatial.transform").Rotation
    turn = rotation.from_euler("xyz", wanted[3:]).as_matrix()
    world = np.eye(4)
    world[:3, :3] = turn
    world[:3, 3] = wanted[:3] + estimator.centre - turn @ estimator.centre
    # content at a place of the reference lies at world @ place: a voxel of the moved image reads
    # the reference at the inverse
    back = np.linalg.inv(AFFINE) @ np.linalg.inv(world) @ AFFINE
    moved = ndimage.affine_transform(
        head(SHAPE, AFFINE), back[:3, :3][::-1, ::-1], back[:3, 3][::-1], order=3, mode="nearest"
    )
    found = MotionEstimator(head(SHAPE, AFFINE), AFFINE).estimate(moved, np.zeros(6))
    # the centre of intensity of the noisy reference differs by less than the accuracy
    check(found, wanted)


def test_motion_without_noise_is_recovered():
    estimator = MotionEstimator(head(SHAPE, AFFINE), AFFINE)
    wanted = np.array([0.5, -0.3, 0.8, 0.01, -0.005, 0.008])
    moved = head(SHAPE, AFFINE, motion=rigid_matrix(wanted, estimator.centre))
    check(estimator.estimate(moved, np.zeros(6)), wanted)


def test_gain_and_offset_are_not_motion(estimator):
    changed = 1.1 * head(SHAPE, AFFINE) + 30
    check(estimator.estimate(noisy(changed, 9), np.zeros(6)), np.zeros(6))


def test_integers_and_nan_are_read(estimator):
    plain = noisy(head(SHAPE, AFFINE), 10)
    stored = estimator.estimate(plain.astype(np.int16), np.zeros(6))
    check(stored, np.zeros(6))
    plain[:2] = np.nan
    assert np.isfinite(estimator.estimate(plain, np.zeros(6)).parameters).all()


@pytest.mark.parametrize("other", ["zeros", "noise"])
def test_a_volume_without_the_head_has_no_estimate(estimator, other):
    values = np.random.default_rng(3).normal(500, 200, SHAPE) if other == "noise" else 0.0
    found = estimator.estimate(np.full(SHAPE, 1.0, np.float32) * values, np.zeros(6))
    assert np.isfinite(found.parameters).all()
    if other == "noise":
        assert not found.converged or np.abs(found.parameters[:3]).max() > 1


@pytest.mark.parametrize("value", [0.0, 100.0, np.nan])
def test_a_reference_without_a_head_is_refused(value):
    with pytest.raises(InputError, match="reference must"):
        MotionEstimator(np.full(SHAPE, value, dtype=np.float32), AFFINE)
