"""Region means are those of boolean masks; scales and repetition times are what they say."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from fastbrain.data import (
    Parcellation,
    SeriesScaler,
    WindowSpec,
    load_volumes,
    parcel_series,
    prepare_store,
    read_parcellation,
    read_runs_table,
    resample_series,
    split_by,
)
from fastbrain.errors import InputError, VolumeError
from fastbrain.grid import TokenGrid

SHAPE, VOLUMES = (5, 6, 7), 11
AFFINE = np.diag([-3.0, 3.0, 3.5, 1.0])


def rng(seed=0):
    return np.random.default_rng(seed)


def labels():
    """Scattered labels 0, 3, 7, 8 and 40."""
    return rng().choice([0, 3, 7, 8, 40], SHAPE).astype(np.int16)


def by_masks(values, image):
    return np.stack([values[:, image == k].mean(axis=1) for k in np.unique(image) if k])


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.int32])
def test_means_of_integers_are_those_of_boolean_masks_bit_for_bit(dtype):
    info = np.iinfo(dtype)
    values = rng(1).integers(info.min, info.max, (VOLUMES, *SHAPE), dtype=dtype)
    parcels = Parcellation.from_labels(labels())
    assert parcels.names == ("3", "7", "8", "40")
    assert np.array_equal(parcels.means(values), by_masks(values.astype(np.float64), labels()))


def test_means_of_floats_do_not_lose_digits():
    values = (1e4 + rng(1).standard_normal((VOLUMES, *SHAPE))).astype(np.float32)
    truth = by_masks(values.astype(np.float64), labels())
    np.testing.assert_allclose(Parcellation.from_labels(labels()).means(values), truth, rtol=1e-14)


def test_names_mask_and_centres():
    mask = rng(2).random(SHAPE) < 0.7
    parcels = Parcellation.from_labels(
        labels(), names={8: "right", 3: "left"}, mask=mask, affine=AFFINE
    )
    assert parcels.names == ("left", "right")
    for name, label, center in zip(("left", "right"), (3, 8), parcels.centers_mm, strict=True):
        at = np.argwhere((labels() == label) & mask)[:, ::-1]
        expected = (np.c_[at, np.ones(len(at))] @ AFFINE.T)[:, :3].mean(axis=0)
        np.testing.assert_allclose(center, expected, err_msg=name)
        assert parcels.sizes[parcels.names.index(name)] == len(at)


@pytest.mark.parametrize("stride", [(2, 3, 2), (1, 2, 2)])
def test_patches_of_a_store_hold_the_same_regions(stride):
    mask = rng(2).random(SHAPE) < 0.7
    grid = TokenGrid.from_mask(mask, (2, 3, 2), stride)
    volumes = rng(3).integers(-99, 99, (VOLUMES, *SHAPE)).astype(np.int16)
    patches = np.where(grid.offsets >= 0, volumes.reshape(VOLUMES, -1)[:, grid.offsets], -77)
    found = Parcellation.from_labels(labels()).on_grid(grid).means(patches.astype(np.int16))
    assert np.array_equal(found, by_masks(volumes, np.where(mask, labels(), 0)))


def write_labels(path, image, affine):
    nib.save(nib.Nifti1Image(image.T, affine), path)
    return path


def test_an_image_and_its_store(cohort, tmp_path):
    table = read_runs_table(cohort(subjects=1))
    volumes = load_volumes(table[0].bold)
    atlas = write_labels(tmp_path / "atlas.nii", labels(), volumes.affine)
    parcels = read_parcellation(atlas, volumes)
    series = parcel_series(volumes, parcels)
    np.testing.assert_allclose(
        series, by_masks(volumes.scaled().astype(np.float64), labels()), rtol=1e-6
    )
    store = prepare_store(
        table,
        tmp_path / "store",
        window=WindowSpec(4.0, 3),
        kernel=(2, 2, 3),
        split=lambda t: split_by(t, "run", train=["01"], val=["02"], test=["03"]),
        high_pass_s=None,
    )
    run = store.trials[0].run_id
    brain = store.grid.mask
    # the store is in percent of each voxel's own mean, with its line taken out
    percent = parcel_series(store, parcels, run_id=run)
    raw = volumes.scaled().astype(np.float64)[:, brain]
    t = np.stack([np.ones(len(raw)), np.arange(len(raw))], axis=1)
    residual = raw - t @ np.linalg.lstsq(t, raw, rcond=None)[0]
    truth = np.zeros((len(raw), *SHAPE))
    truth[:, brain] = 100 * residual / raw.mean(axis=0)
    expected = by_masks(truth, np.where(brain, labels(), 0))
    np.testing.assert_allclose(percent, expected, atol=0.003)
    with pytest.raises(InputError, match="run_id"):
        parcel_series(store, parcels)


def test_an_atlas_on_another_grid_is_refused(cohort, tmp_path):
    volumes = load_volumes(read_runs_table(cohort(subjects=1))[0].bold)
    moved = volumes.affine.copy()
    moved[0, 3] += 2
    with pytest.raises(VolumeError, match="affine"):
        read_parcellation(write_labels(tmp_path / "a.nii", labels(), moved), volumes)
    with pytest.raises(VolumeError, match="shape"):
        read_parcellation(write_labels(tmp_path / "b.nii", labels()[1:], volumes.affine), volumes)
    with pytest.raises(InputError, match="another grid"):
        Parcellation.from_labels(labels()[1:]).means(volumes.raw())


@pytest.mark.parametrize(
    ("image", "options", "told"),
    [
        (labels() * 0, {}, "other than 0"),
        (labels() + 0.5, {}, "whole numbers"),
        (np.where(labels(), np.nan, 0), {}, "whole numbers"),
        (labels(), {"names": {3: "a", 5: "gone"}}, "gone"),
        (labels(), {"mask": labels() != 40}, "40"),
        (labels(), {"mask": np.ones((2, 2, 2), bool)}, "shape"),
    ],
)
def test_images_that_are_no_parcellation(image, options, told):
    with pytest.raises(InputError, match=told):
        Parcellation.from_labels(image, **options)


def test_values_that_are_not_finite_name_their_region():
    values = np.ones((VOLUMES, *SHAPE), np.float32)
    values[3][labels() == 8] = np.nan
    values[4][labels() == 0] = np.nan  # outside the regions: not looked at
    with pytest.raises(InputError, match=r"\['8'\]"):
        Parcellation.from_labels(labels()).means(values)


def test_a_constant_region_is_told(cohort):
    volumes = load_volumes(read_runs_table(cohort(subjects=1))[0].bold)
    flat = volumes.raw().copy()
    flat[:, labels() == 7] = 12
    object.__setattr__(volumes, "_stored", flat)
    with pytest.raises(VolumeError, match="7"):
        parcel_series(volumes, Parcellation.from_labels(labels()))


def test_scales_are_fitted_on_all_training_volumes():
    runs = {"a": rng(1).gamma(2.0, size=(3, 40)), "b": 5 + rng(2).gamma(2.0, size=(3, 17))}
    both = np.concatenate(list(runs.values()), axis=1)
    low, middle, high = np.quantile(both, [0.25, 0.5, 0.75], axis=1)[..., None]
    robust = SeriesScaler.fit(runs)
    np.testing.assert_allclose(robust(runs["a"]), (runs["a"] - middle) / (high - low), rtol=1e-6)
    z = SeriesScaler.fit(runs, kind="z")(both)
    np.testing.assert_allclose(z.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(z.std(axis=1), 1, rtol=1e-5)
    assert robust.scope.fitted_on == ("a", "b")


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        ({}, "same regions"),
        ({"a": np.ones((2, 5)), "b": np.ones((3, 5))}, "same regions"),
        ({"a": np.full((2, 5), np.nan)}, "finite"),
        ({"a": np.stack([np.arange(5.0), np.ones(5)])}, "first region 1"),
    ],
)
def test_series_without_a_scale(runs, told):
    with pytest.raises(InputError, match=told):
        SeriesScaler.fit(runs)


def test_a_constant_region_has_no_scale_whatever_its_value():
    # the standard deviation of a hundred times 0.1 is 1.4e-17
    runs = {"a": np.stack([np.arange(100.0), np.full(100, 0.1)])}
    for kind in ("robust", "z"):
        with pytest.raises(InputError, match="first region 1"):
            SeriesScaler.fit(runs, kind=kind)


@pytest.mark.parametrize(("tr", "new_tr"), [(0.72, 2.0), (0.72, 0.735), (2.0, 0.735), (2.0, 2.0)])
def test_resampling_keeps_what_both_rates_can_carry(tr, new_tr):
    def wave(step):
        t = np.arange(int(288 / step)) * step
        return np.stack([np.sin(2 * np.pi * 0.05 * t), 3 + np.cos(2 * np.pi * 0.02 * t)])

    found = resample_series(wave(tr), tr=tr, new_tr=new_tr)
    truth = wave(new_tr)
    n = min(found.shape[1], truth.shape[1])
    assert abs(found.shape[1] - truth.shape[1]) <= 1
    inside = slice(10, n - 10)  # the filter's ends are not compared
    np.testing.assert_allclose(found[:, inside], truth[:, inside], atol=0.01)


def test_what_the_new_rate_cannot_carry_is_removed_not_folded():
    t = np.arange(1000) * 0.72
    fast = np.sin(2 * np.pi * 0.45 * t)  # beyond 0.25 Hz of 2 s
    folded = np.interp(np.arange(300) * 2.0, t, fast)
    found = resample_series(fast, tr=0.72, new_tr=2.0)
    assert folded.std() > 0.5
    assert found[10:-10].std() < 0.01


@pytest.mark.parametrize(
    ("tr", "new_tr", "value"), [(0, 2, 1.0), (2, -1, 1.0), (2, 1, np.nan), (2, 5000, 1.0)]
)
def test_bad_rates_and_values(tr, new_tr, value):
    with pytest.raises(InputError, match="resample_series"):
        resample_series(np.full(50, value), tr=tr, new_tr=new_tr)


@pytest.mark.parametrize("kernel", [(2, 2, 2), (2, 3, 4), (5, 6, 7)])
def test_super_voxels_are_the_means_of_patches(kernel):
    mask = rng(3).random(SHAPE) > 0.3
    grid = TokenGrid.from_mask(mask, kernel, min_voxels=2)
    regions = Parcellation.from_grid(grid, affine=AFFINE)
    values = rng(4).integers(-500, 500, (VOLUMES, *SHAPE)).astype(np.int16)
    packed = np.where(grid.offsets >= 0, values.reshape(VOLUMES, -1)[:, grid.offsets], 0)
    means = packed.sum(axis=2) / (grid.offsets >= 0).sum(axis=1)
    found = np.add.reduceat(values.reshape(VOLUMES, -1)[:, regions.order], regions.starts, axis=1)
    np.testing.assert_allclose(found / regions.sizes, means, rtol=1e-12)
    assert len(regions.names) == grid.n_tokens
    assert regions.names[0] == "-".join(map(str, grid.coords[0]))
    # centres of what is brain, inside their patches
    corner = grid.coords[:, ::-1] * np.array(kernel)[::-1]
    voxel = (regions.centers_mm - AFFINE[:3, 3]) / np.diag(AFFINE)[:3]
    assert (voxel >= corner).all()
    assert (voxel <= corner + np.array(kernel)[::-1] - 1).all()


def test_overlapping_patches_are_no_regions():
    grid = TokenGrid.from_mask(np.ones(SHAPE, bool), (3, 3, 3), (2, 2, 2))
    with pytest.raises(InputError, match="overlap"):
        Parcellation.from_grid(grid)
