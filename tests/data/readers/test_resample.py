"""Runs on other voxel grids, moved to the grid of a mask."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from fastbrain.data.readers.resample import on_grid
from fastbrain.data.readers.volumes import load_volumes

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
    moved = on_grid(run, np.ones(SIZE[::-1], dtype=bool), AFFINE).scaled()
    wanted = field(world(SIZE, AFFINE)).T
    np.testing.assert_allclose(moved, [wanted, 2 * wanted], rtol=1e-5)


def test_voxels_without_a_value_do_not_spread(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(100, 5, (*SIZE, 2)).astype(np.float32)
    values[0] = np.nan
    flipped = AFFINE.copy()
    flipped[:3, 0] *= -1
    flipped[:3, 3] += AFFINE[:3, 0] * (SIZE[0] - 1)
    run = scan(tmp_path / "run.nii", values[::-1], flipped)
    mask = np.ones(SIZE[::-1], dtype=bool)
    moved = on_grid(run, mask, AFFINE).scaled()
    np.testing.assert_allclose(moved, values.T, rtol=1e-6)
    shifted = AFFINE.copy()
    shifted[0, 3] += 1
    moved = on_grid(scan(tmp_path / "near.nii", values, shifted), mask, AFFINE).scaled()
    np.testing.assert_allclose(moved[..., 1], values.T[..., 1], rtol=1e-6)
    assert np.isnan(moved[..., 0]).all()
