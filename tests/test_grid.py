"""The lattice of tokens: nothing of the brain is lost, every patch is where it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastbrain import TokenGrid
from fastbrain.errors import InputError

ODD = (13, 11, 9)


def brain(shape, share=0.5, seed=0):
    mask = np.random.default_rng(seed).random(shape) < share
    mask.flat[0] = True
    return mask


@pytest.mark.parametrize("dtype", [np.int16, np.float32, bool])
@pytest.mark.parametrize("lead", [(), (3,), (2, 0), (2, 3)], ids=str)
@pytest.mark.parametrize("kernel", [(1, 1, 1), (4, 4, 4), (3, 5, 2), ODD, (20, 20, 20)], ids=str)
def test_unpack_undoes_pack_inside_the_mask(kernel, lead, dtype):
    grid = TokenGrid.from_mask(brain(ODD), kernel)
    volumes = np.random.default_rng(1).integers(1, 100, (*lead, *ODD)).astype(dtype)
    patches = grid.pack(volumes)
    assert patches.shape == (*lead, grid.n_tokens, grid.patch_voxels)
    assert patches.dtype == dtype
    restored = grid.unpack(patches)
    assert restored.dtype == dtype
    np.testing.assert_array_equal(restored, np.where(grid.mask, volumes, 0))


def test_pack_by_hand():
    mask = np.ones((1, 3, 5), dtype=bool)
    mask[0, 0, 1] = False
    grid = TokenGrid.from_mask(mask, (1, 2, 2))
    assert grid.lattice == (1, 2, 3)
    assert grid.n_tokens == 6
    volume = np.arange(1, 16).reshape(1, 3, 5)
    np.testing.assert_array_equal(
        grid.pack(volume),
        # 2 is outside the mask; the last row and column reach past the end
        [[1, 0, 6, 7], [3, 4, 8, 9], [5, 0, 10, 0], [11, 12, 0, 0], [13, 14, 0, 0], [15, 0, 0, 0]],
    )


@pytest.mark.parametrize(
    ("kernel", "stride"),
    [((3, 3, 3), (2, 2, 2)), ((4, 3, 5), (1, 3, 2)), ((14, 12, 10), (2, 2, 2))],
    ids=str,
)
def test_overlapping_patches_are_slices(kernel, stride):
    grid = TokenGrid.from_mask(brain(ODD, seed=3), kernel, stride)
    assert grid.overlapping
    volume = np.random.default_rng(2).integers(1, 100, ODD)
    padded = np.pad(np.where(grid.mask, volume, 0), [(0, 2 * k) for k in kernel])
    patches = grid.pack(volume)
    for patch, site in zip(patches, grid.coords, strict=True):
        begin = site * stride
        box = tuple(slice(b, b + k) for b, k in zip(begin, kernel, strict=True))
        np.testing.assert_array_equal(patch, padded[box].reshape(-1))
    with pytest.raises(InputError, match="kernel must equal stride"):
        grid.unpack(patches)


@pytest.mark.parametrize("stride", [None, (2, 1, 3)], ids=str)
def test_every_brain_voxel_is_in_a_patch(stride):
    grid = TokenGrid.from_mask(brain((17, 5, 7), 0.05), (4, 3, 5), stride)
    seen = np.unique(grid.offsets[grid.patch_mask])
    np.testing.assert_array_equal(seen, np.flatnonzero(grid.mask))
    assert (np.diff(grid.kept) > 0).all()


def test_empty_patches_are_dropped_and_min_voxels_drops_more():
    mask = np.zeros((4, 4, 4), dtype=bool)
    mask[0, 0, 0] = True
    mask[2:, 2:, 2:] = True
    assert TokenGrid.from_mask(mask, (2, 2, 2)).kept.tolist() == [0, 7]
    strict = TokenGrid.from_mask(mask, (2, 2, 2), min_voxels=2)
    assert strict.kept.tolist() == [7]
    with pytest.raises(InputError, match="at most 8 brain voxels"):
        TokenGrid.from_mask(mask, (2, 2, 2), min_voxels=9)


def test_centers_by_hand():
    mask = np.zeros((4, 6, 8), dtype=bool)
    mask[3, 5, 7] = True
    grid = TokenGrid.from_mask(mask, (2, 3, 4))
    # 3 mm voxels, x flipped, shifted: the only patch spans x 4..7, y 3..5, z 2..3
    affine = np.array([[-3, 0, 0, 90], [0, 3, 0, -126], [0, 0, 3, -72], [0, 0, 0, 1.0]])
    np.testing.assert_allclose(
        grid.centers(affine), [[90 - 3 * 5.5, -126 + 3 * 4.0, -72 + 3 * 2.5]], rtol=0, atol=1e-12
    )


def test_centers_are_means_of_voxel_positions():
    grid = TokenGrid.from_mask(np.ones((6, 6, 8), dtype=bool), (3, 2, 4))
    rng = np.random.default_rng(0)
    affine = np.vstack([rng.normal(size=(3, 4)), [0, 0, 0, 1]])
    z, y, x = np.unravel_index(grid.offsets, grid.shape)
    voxels = np.stack([x, y, z, np.ones_like(x)], axis=-1)  # (n, P, 4)
    expected = (voxels @ affine.T)[..., :3].mean(axis=1)
    np.testing.assert_allclose(grid.centers(affine), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("mask", "kernel", "stride", "told"),
    [
        (np.ones((3, 3)), (1, 1, 1), None, "mask must be"),
        (np.zeros((3, 3, 3)), (1, 1, 1), None, "at least one voxel"),
        (np.full((3, 3, 3), np.nan), (1, 1, 1), None, "mask must hold finite values"),
        (np.full((3, 3, 3), 0.3), (1, 1, 1), None, "mask must hold whole numbers, got fractions"),
        (np.full((3, 3, 3), -1), (1, 1, 1), None, "mask must hold no values below 0"),
        (np.ma.masked_array(np.ones((3, 3, 3))), (1, 1, 1), None, "must be a plain array"),
        (np.ones((3, 3, 3)), (1, 2, 1), (1, 3, 1), "kernel must be >= stride"),
        (np.ones((3, 3, 3)), (0, 1, 1), None, "kernel must be three positive"),
        (np.ones((3, 3, 3)), (1, 1), None, "kernel must be a tuple of"),
        (np.ones((3, 3, 3)), 2, None, "kernel must be a tuple of"),
        (np.ones((3, 3, 3)), (1, 1, 1), (1.5, 1, 1), "stride must be a tuple of"),
        (np.ones((3, 3, 3)), (1, 1, 1), (1, -1, 1), "stride must be three positive"),
        (np.ones((3, 3, 3)), (2_000_000_000, 2, 2), None, "268435456 voxels in all, got 4 patches"),
        (np.ones((30, 3, 3)), (1, 3, 10**7), (1, 1, 1), "in all, got 30 patches"),
        (np.ones((91, 109, 91)), (30, 30, 30), (1, 1, 1), "in all, got 307520 patches"),
    ],
)
def test_refusals(mask, kernel, stride, told):
    with pytest.raises(InputError, match=told):
        TokenGrid.from_mask(mask, kernel, stride)


@pytest.mark.parametrize(("kernel", "stride"), [((3, 2, 5), (2, 1, 4)), ((9, 7, 4), (9, 7, 4))])
def test_offsets_are_the_voxels_of_a_patch_one_by_one(kernel, stride):
    grid = TokenGrid.from_mask(brain(ODD), kernel, stride)
    for (z, y, x), offsets in zip(grid.coords * stride, grid.offsets, strict=True):
        for (dz, dy, dx), offset in zip(np.ndindex(kernel), offsets, strict=True):
            place = (z + dz, y + dy, x + dx)
            kept = all(np.less(place, ODD)) and grid.mask[place]
            assert offset == (np.ravel_multi_index(place, ODD) if kept else -1)


def test_a_grid_is_what_it_was_made_from_whatever_becomes_of_that():
    mask = np.ones((4, 4, 4), dtype=bool)
    grid = TokenGrid.from_mask(mask, (2, 2, 2))
    mask[:] = False
    assert grid.mask.all()
    kept = np.arange(8, dtype=np.int32)
    other = TokenGrid(np.ones((4, 4, 4), dtype=bool), [2, 2, 2], (np.int64(2), 2, 2), kept)
    kept[:] = 0
    assert other == grid
    assert not other.overlapping


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kept": np.array([8])}, "sites below 8, ascending"),
        ({"kept": np.array([-1, 2])}, "sites below 8, ascending"),
        ({"kept": np.array([2, 2])}, "sites below 8, ascending"),
        ({"kept": np.array([], dtype=np.int64)}, "sites below 8, ascending"),
        ({"kept": np.zeros((1, 1), dtype=np.int64)}, "sites below 8, ascending"),
        ({"kept": np.ones(8, dtype=bool)}, "sites below 8, ascending"),
        ({"kernel": (0, 2, 2)}, "kernel must be three positive"),
        ({"stride": (3, 2, 2)}, "kernel must be >= stride"),
        ({"mask": np.ones((4, 4), dtype=bool)}, r"mask must be \(Z, Y, X\)"),
        ({"mask": np.zeros((4, 4, 4), dtype=bool)}, "at least one voxel"),
    ],
)
def test_a_grid_by_hand_is_checked(change, told):
    valid = {"mask": np.ones((4, 4, 4), dtype=bool), "kernel": (2, 2, 2), "stride": (2, 2, 2)}
    with pytest.raises(InputError, match=told):
        TokenGrid(**{**valid, "kept": np.arange(8), **change})


@pytest.mark.parametrize("method", ["pack", "unpack"])
@pytest.mark.parametrize(
    "kind",
    [torch.tensor, np.ma.masked_array, np.ndarray.tolist],
    ids=["tensor", "masked", "list"],
)
def test_what_is_no_plain_array_is_refused(method, kind):
    grid = TokenGrid.from_mask(np.ones((4, 4, 4), dtype=bool), (2, 2, 2))
    values = {"pack": np.zeros((4, 4, 4)), "unpack": np.zeros((8, 8))}[method]
    getattr(grid, method)(values)
    with pytest.raises(InputError, match=rf"TokenGrid\.{method}: .* must be a plain NumPy array"):
        getattr(grid, method)(kind(values))


def test_pack_refuses_volumes_of_another_shape():
    grid = TokenGrid.from_mask(brain(ODD), (4, 4, 4))
    with pytest.raises(InputError, match=r"volumes must have shape \(\.\.\., "):
        grid.pack(np.zeros(ODD[::-1]))


def test_unpack_refuses_patches_of_another_grid():
    grid = TokenGrid.from_mask(brain(ODD), (4, 4, 4))
    with pytest.raises(InputError, match=r"patches must have shape \(\.\.\., "):
        grid.unpack(np.zeros((grid.n_tokens + 1, grid.patch_voxels)))


def test_fingerprint_is_of_the_contents():
    mask = brain(ODD)
    one = TokenGrid.from_mask(mask, (4, 4, 4))
    assert one.fingerprint() == TokenGrid.from_mask(mask.copy(), (4, 4, 4)).fingerprint()
    flipped = mask.copy()
    flipped[6, 5, 4] ^= True
    others = [
        TokenGrid.from_mask(flipped, (4, 4, 4)),
        TokenGrid.from_mask(mask, (4, 4, 3)),
        TokenGrid.from_mask(mask, (4, 4, 4), (4, 4, 3)),
        TokenGrid.from_mask(mask, (4, 4, 4), min_voxels=33),
        TokenGrid.from_mask(mask.reshape(ODD[::-1]), (4, 4, 4)),
    ]
    prints = {one.fingerprint(), *(other.fingerprint() for other in others)}
    assert len(prints) == len(others) + 1


def test_grids_are_equal_by_contents_and_read_only():
    mask = brain(ODD)
    grid, same = (TokenGrid.from_mask(mask.copy(), (4, 4, 4)) for _ in range(2))
    assert grid == same
    assert hash(grid) == hash(same)
    assert grid != TokenGrid.from_mask(mask, (4, 4, 3))
    assert grid != grid.fingerprint()
    with pytest.raises(AttributeError, match="kernel is read-only"):
        grid.kernel = (1, 1, 1)
