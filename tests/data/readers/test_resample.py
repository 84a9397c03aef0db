"""Runs on other voxel grids, moved to the grid of a mask."""

from __future__ import annotations

import nibabel as nib
import nilearn.image as nilearn_image
import numpy as np
import pytest

from fastbrain.data.readers.resample import at_voxels, check_coverage, mask_on_grid
from fastbrain.data.readers.volumes import load_volumes
from fastbrain.errors import VolumeError

SIZE = (9, 8, 7)  # (X, Y, Z) of the mask
AFFINE = np.array([[4.0, 0, 0, -16], [0, 4, 0, -12], [0, 0, 4, -8], [0, 0, 0, 1]])
TURN = np.array([[np.cos(0.1), -np.sin(0.1), 0], [np.sin(0.1), np.cos(0.1), 0], [0, 0, 1]])


def world(shape, affine):
    """World coordinates of all voxels, (X, Y, Z, 3) in mm."""
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return voxels @ affine[:3, :3].T + affine[:3, 3]


def scan(path, values, affine):
    """Write a run (X, Y, Z, T) and open it."""
    image = nib.Nifti1Image(values.astype(np.float32), affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 2.0
    nib.save(image, path)
    return load_volumes(path)


ALL = np.arange(np.prod(SIZE))


def on_grid(run, voxels=ALL, **options):
    """Values at voxels of the mask's grid, (T, V)."""
    moved, places = at_voxels(run, voxels, SIZE[::-1], AFFINE, **options)
    return moved.scaled().reshape(run.shape[0], -1)[:, places]


@pytest.mark.parametrize(
    "axes",
    [np.diag([-3.0, 3, 3]), TURN @ np.diag([4.0, 4, 5]), [[0, 0, -4], [5, 0, 0], [0, 3, 0]]],
    ids=["flipped", "oblique", "permuted"],
)
def test_a_linear_field_keeps_its_values_at_every_place(tmp_path, axes):
    corners = np.linalg.inv(axes) @ world(SIZE, AFFINE).reshape(-1, 3).T
    first = np.floor(corners.min(axis=1)) - 1
    shape = (corners.max(axis=1) - first + 2).astype(int)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes, axes @ first

    def field(places):
        return 100 + places @ [0.3, -0.2, 0.5]

    values = field(world(shape, affine))
    run = scan(tmp_path / "run.nii", np.stack([values, 2 * values], axis=-1), affine)
    wanted = field(world(SIZE, AFFINE)).T.reshape(-1)
    np.testing.assert_allclose(on_grid(run), [wanted, 2 * wanted], rtol=1e-5)


def test_voxels_without_a_value_do_not_spread(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(100, 5, (*SIZE, 2)).astype(np.float32)
    values[0] = np.nan
    flipped = AFFINE.copy()
    flipped[:3, 0] *= -1
    flipped[:3, 3] += AFFINE[:3, 0] * (SIZE[0] - 1)
    run = scan(tmp_path / "run.nii", values[::-1], flipped)
    wanted = values.T.reshape(2, -1)
    np.testing.assert_allclose(on_grid(run), wanted, rtol=1e-6)
    shifted = AFFINE.copy()
    shifted[0, 3] += 1
    moved = on_grid(scan(tmp_path / "near.nii", values, shifted))
    known = np.isfinite(wanted)
    # the first voxel with a value takes a quarter of its weight from one without
    first = np.zeros(SIZE[::-1], dtype=bool)
    first[..., 1] = True
    np.testing.assert_allclose(moved[:, first.reshape(-1)], wanted[:, first.reshape(-1)], rtol=1e-6)
    np.testing.assert_array_equal(np.isfinite(moved), known)


@pytest.mark.parametrize("smoothing_mm", [None, 5.0])
def test_interpolation_equals_scipy(tmp_path, smoothing_mm):
    from scipy.ndimage import affine_transform

    rng = np.random.default_rng(1)
    affine = np.eye(4)
    affine[:3, :3] = TURN @ np.diag([3.0, 3.5, 4])
    affine[:3, 3] = (-18, -17, -11)
    values = rng.normal(1000, 50, (13, 12, 9, 3)).astype(np.float32)
    run = scan(tmp_path / "run.nii", values, affine)
    step = np.linalg.inv(affine) @ AFFINE
    voxels = np.sort(rng.permutation(ALL)[:101])
    moved = on_grid(run, voxels, smoothing_mm=smoothing_mm)
    for t in range(3):
        volume = values[..., t]
        if smoothing_mm:
            image = nib.Nifti1Image(volume, affine)
            volume = nilearn_image.smooth_img(image, smoothing_mm).get_fdata()
        wanted = affine_transform(
            volume, step[:3, :3], step[:3, 3], output_shape=SIZE, order=1, mode="nearest"
        )
        wanted = wanted.T.reshape(-1)[voxels]
        seen = np.isfinite(moved[t])
        assert seen.mean() > 0.98
        # float32 weights and sums against float64
        np.testing.assert_allclose(moved[t][seen], wanted[seen], rtol=2e-6)


def test_a_run_on_its_grid_is_not_copied(tmp_path):
    run = scan(tmp_path / "run.nii", np.ones((*SIZE, 4)), AFFINE)
    voxels = np.array([3, 8, 20])
    same, places = at_voxels(run, voxels, SIZE[::-1], AFFINE)
    assert same is run
    assert places is voxels


def test_a_field_of_view_that_cuts_the_brain_is_refused(tmp_path):
    affine = AFFINE.copy()
    affine[0, 3] += 8
    run = scan(tmp_path / "run.nii", np.ones((*SIZE, 4)), affine)
    with pytest.raises(VolumeError, match=r"22% of it outside.*--output-spaces"):
        check_coverage(run, ALL, SIZE[::-1], AFFINE)
    with pytest.raises(VolumeError, match=r"run\.nii must cover the brain mask"):
        at_voxels(run, ALL, SIZE[::-1], AFFINE)


def test_a_mask_takes_the_nearest_voxel(tmp_path):
    rng = np.random.default_rng(2)
    mask = rng.random((5, 4, 4)) < 0.5
    fine = np.diag([2.0, 2, 2, 1])
    fine[:3, 3] = -1.0  # eight fine voxels lie in each coarse one
    coarse = np.diag([4.0, 4, 4, 1])
    path = tmp_path / "mask.nii"
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), coarse), path)
    found = mask_on_grid(path, (10, 8, 10), fine)
    wanted = mask.T.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    np.testing.assert_array_equal(found[:8, :, :], wanted)
    # beyond the field of view there is no brain
    assert not found[8:].any()
    far = fine.copy()
    far[:3, 3] = 500
    with pytest.raises(VolumeError, match="must show a brain on the grid, got none"):
        mask_on_grid(path, (8, 8, 10), far)
