"""Masks lie on the run's grid or are refused."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from fastbrain._arrays import brain_of
from fastbrain.data import compute_mask, intersect_masks, load_volumes, read_mask
from fastbrain.errors import InputError, VolumeError

AFFINE = np.diag([-3.0, 3.0, 3.5, 1.0])
SHAPE = (5, 6, 7)


def saved(path, mask, affine=AFFINE, dtype=np.uint8):
    nib.save(nib.Nifti1Image(mask.astype(dtype).T, affine), path)
    return path


@pytest.fixture
def mask():
    return np.random.default_rng(0).random(SHAPE) < 0.5


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_read(tmp_path, mask, dtype):
    path = saved(tmp_path / "m.nii.gz", mask, dtype=dtype)
    found = read_mask(path, shape=SHAPE, affine=AFFINE)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, mask)


def test_another_grid_is_refused(tmp_path, mask):
    path = saved(tmp_path / "m.nii", mask)
    with pytest.raises(VolumeError, match=r"\(5, 6, 8\).*\(5, 6, 7\)"):
        read_mask(path, shape=(5, 6, 8), affine=AFFINE)
    shifted = AFFINE.copy()
    shifted[0, 3] = 0.2
    with pytest.raises(VolumeError, match="affine"):
        read_mask(path, shape=SHAPE, affine=shifted)
    shifted[0, 3] = 0.05
    read_mask(path, shape=SHAPE, affine=shifted)


def test_useless_masks_are_refused(tmp_path, mask):
    with pytest.raises(VolumeError, match="at least one voxel"):
        read_mask(saved(tmp_path / "a.nii", mask & False), shape=SHAPE, affine=AFFINE)
    holes = np.where(mask, np.nan, 1.0)
    path = saved(tmp_path / "b.nii", holes, dtype=np.float32)
    with pytest.raises(VolumeError, match="finite"):
        read_mask(path, shape=SHAPE, affine=AFFINE)
    path = saved(tmp_path / "d.nii", np.where(mask, 1, -1), dtype=np.int16)
    with pytest.raises(VolumeError, match=r"no values below 0.*got -1"):
        read_mask(path, shape=SHAPE, affine=AFFINE)
    path = saved(tmp_path / "c.nii", np.ones((2, *SHAPE)))
    with pytest.raises(VolumeError, match="3 sizes"):
        read_mask(path, shape=SHAPE, affine=AFFINE)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (-1.0, "no values below 0"),
        (np.nan, "finite values only"),
        (np.inf, "finite values only"),
        (0.3, "whole numbers, got fractions. Choose a threshold"),
    ],
)
def test_arrays_that_are_no_masks(mask, bad, message):
    values = mask.astype(np.float32)
    values[0, 0, 0] = bad
    with pytest.raises(VolumeError, match=f"plan_store: mask must hold {message}"):
        brain_of(values, where="plan_store: mask", error=VolumeError)
    assert np.array_equal(brain_of(mask, where="", error=VolumeError), mask)


def test_intersection(mask):
    other = np.roll(mask, 1, axis=2)
    np.testing.assert_array_equal(intersect_masks([mask, other]), mask & other)
    with pytest.raises(VolumeError, match="share a voxel"):
        intersect_masks([mask, ~mask])
    with pytest.raises(InputError, match="one shape"):
        intersect_masks([mask, mask[1:]])
    with pytest.raises(InputError, match="one shape"):
        intersect_masks([])


def test_computed_mask_finds_the_ball(tmp_path):
    pytest.importorskip("nilearn")
    z, y, x = np.mgrid[-10:10, -11:11, -12:12]
    ball = z**2 + y**2 + x**2 < 64
    rng = np.random.default_rng(1)
    data = np.where(ball, 1000, 20) + rng.normal(0, 5, (6, *ball.shape))
    image = nib.Nifti1Image(data.astype(np.int16).T, np.diag([4.0, 4, 4, 1]))
    image.header["pixdim"][4] = 2
    nib.save(image, tmp_path / "b.nii.gz")
    found = compute_mask(load_volumes(tmp_path / "b.nii.gz"))
    assert found.shape == ball.shape
    # opening by nilearn rounds the border
    assert (found & ball).sum() > 0.9 * ball.sum()
    assert (found & ~ball).sum() < 0.1 * ball.sum()


def test_real_one_slice_mask(real_data):
    root = real_data / "haxby_runs01-08"
    run = load_volumes(root / "sub001/BOLD/task001_run001/bold_1slice.nii.gz", tr=2.5)
    found = read_mask(root / "mask_1slice.nii.gz", shape=run.shape[1:], affine=run.affine)
    assert found.shape == (1, 20, 40)
    assert 0 < found.sum() < found.size
