"""Every property that is checked when an image is opened, and what reading returns."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from nifti_run import AFFINE, SHAPE, edit, image
from nifti_run import plain as plain

from fastbrain.data import load_volumes
from fastbrain.data.store.detrend import check_finite
from fastbrain.errors import InputError, VolumeError


@pytest.mark.parametrize("name", ["bold.nii", "bold.nii.gz", "bold.hdr", "bold.img"])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.uint16, np.float32, ">i2"], ids=str)
def test_reads_what_was_stored(tmp_path, name, dtype):
    kind = nib.Nifti1Image if ".nii" in name else nib.Nifti1Pair
    made, stored = image(np.dtype(dtype), kind=kind)
    if np.dtype(dtype).byteorder == ">":
        made = kind(stored.T, AFFINE, made.header.as_byteswapped(">"))
    nib.save(made, tmp_path / name)
    volumes = load_volumes(tmp_path / name)
    assert volumes.shape == SHAPE
    assert volumes.tr == 2.0
    assert volumes.raw().dtype == np.dtype(dtype).newbyteorder("=")
    assert volumes.raw().flags["WRITEABLE"] == (np.dtype(dtype).byteorder == ">")
    np.testing.assert_array_equal(volumes.raw(), stored)
    np.testing.assert_array_equal(volumes.raw(2, 5), stored[2:5])
    np.testing.assert_allclose(volumes.affine, AFFINE)


def test_uncompressed_is_a_read_only_map(plain):
    raw = load_volumes(plain).raw()
    assert isinstance(raw, np.memmap)
    assert raw.flags["C_CONTIGUOUS"]
    assert not raw.flags["WRITEABLE"]


def test_nifti_two(tmp_path):
    made, stored = image(kind=nib.Nifti2Image)
    nib.save(made, tmp_path / "bold.nii.gz")
    np.testing.assert_array_equal(load_volumes(tmp_path / "bold.nii.gz").raw(), stored)


def test_scaling(plain):
    edit(plain, scl_slope=0.25, scl_inter=-3.0)
    volumes = load_volumes(plain)
    np.testing.assert_array_equal(volumes.scaled(1, 3), volumes.raw(1, 3) * 0.25 - 3.0)
    assert volumes.scaled().dtype == np.float32


@pytest.mark.parametrize(
    ("unit", "stored", "tr", "expected", "level"),
    [
        ("sec", 2.0, None, 2.0, None),
        ("sec", 2.0, 2.0005, 2.0005, None),
        ("msec", 2000.0, None, 2.0, "note"),
        ("msec", 2000.0, 2.0, 2.0, None),
        ("usec", 720000.0, None, 0.72, "note"),
        ("unknown", 1.5, None, 1.5, "note"),
        ("unknown", 1.0, 2.5, 2.5, "note"),
        ("unknown", 0.0, 2.5, 2.5, "note"),
        ("sec", 2000.0, 2.0, 2.0, "note"),
        ("sec", 2000.0, None, None, "error"),
        ("unknown", 2000.0, None, None, "error"),
        ("sec", 0.0, None, None, "error"),
        ("msec", 2.0, None, None, "error"),
        ("hz", 2.0, None, None, "error"),
        ("sec", 2.0, 2.002, None, "error"),
        ("msec", 2000.0, 1.5, None, "error"),
        ("sec", np.nan, None, None, "error"),
    ],
)
def test_repetition_time(tmp_path, unit, stored, tr, expected, level):
    made, _ = image(tr=1.0, unit=unit)
    nib.save(made, tmp_path / "bold.nii")
    edit(tmp_path / "bold.nii", pixdim={4: stored})
    if level == "error":
        with pytest.raises(VolumeError, match=r"bold\.nii.*pixdim\[4\]"):
            load_volumes(tmp_path / "bold.nii", tr=tr)
        return
    volumes = load_volumes(tmp_path / "bold.nii", tr=tr)
    assert volumes.tr == pytest.approx(expected, abs=1e-9)
    assert [n.level for n in volumes.notes] == ([level] if level else [])


@pytest.mark.parametrize("tr", [0.0, -1.0, 31.0, float("nan")])
def test_impossible_tr_argument(plain, tr):
    with pytest.raises(InputError, match="tr must"):
        load_volumes(plain, tr=tr)


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ((3, 4, 1, 6), (6, 1, 4, 3)),
        ((3, 4, 5, 1), (1, 5, 4, 3)),
        ((3, 4, 1, 6, 1), (6, 1, 4, 3)),
        ((3, 4, 5, 1, 1), (1, 5, 4, 3)),
        ((3, 4, 5, 1, 6), (6, 5, 4, 3)),
        ((1, 1, 5, 1, 1, 6, 1), (6, 5, 1, 1)),
    ],
)
def test_axes_of_length_one_beyond_the_third_are_dropped(tmp_path, write_header, stored, read):
    values = np.arange(np.prod(stored), dtype=np.int16).reshape(stored)
    volumes = load_volumes(write_header(tmp_path / "a.nii", values), tr=2.0)
    assert volumes.shape == read
    np.testing.assert_array_equal(volumes.raw(), values.reshape(read[::-1]).T)


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        ((3, 4), "has 2 axes"),
        ((3, 4, 5), "single volume"),
        ((3, 4, 5, 6, 2), "several values a voxel"),
    ],
)
def test_a_run_of_other_axes_is_refused_with_the_reason(tmp_path, write_header, stored, reason):
    path = write_header(tmp_path / "a.nii", np.zeros(stored, np.int16))
    with pytest.raises(VolumeError, match=reason):
        load_volumes(path, tr=2.0)


def test_components_of_a_vector_are_no_volumes(tmp_path, write_header):
    # a displacement field as ITK writes it
    field = np.zeros((3, 4, 5, 1, 3), np.float32)
    path = write_header(tmp_path / "a.nii", field, intent_code=1007)
    with pytest.raises(VolumeError, match="several values a voxel"):
        load_volumes(path, tr=2.0)


def test_spacing_along_a_dropped_axis_is_no_repetition_time(tmp_path, write_header):
    path = write_header(tmp_path / "a.nii", np.zeros((3, 4, 5, 1, 6), np.int16))
    with pytest.raises(VolumeError, match=r"pixdim\[4\].*axis 5.*Pass tr="):
        load_volumes(path)
    volumes = load_volumes(path, tr=1.5)
    assert volumes.tr == 1.5
    assert [note.field for note in volumes.notes] == ["pixdim[4]"]


@pytest.mark.parametrize("span", [(-1, 3), (0, 7), (4, 2)])
def test_interval_outside_the_run(plain, span):
    with pytest.raises(InputError, match="t0, t1"):
        load_volumes(plain).raw(*span)


def test_check_finite(plain):
    volumes = load_volumes(plain)
    data = np.ones((6, 4), np.float32)
    data[:, 2] = np.nan
    assert check_finite(data, volumes=volumes).tolist() == [False, False, True, False]
    data[4, 1] = np.inf
    with pytest.raises(VolumeError, match="1 voxels, first in volume 4"):
        check_finite(data, volumes=volumes)


@pytest.mark.parametrize(
    ("name", "shape", "tr"),
    [
        ("nipy_functional.nii.gz", (20, 3, 21, 17), 2.0),
        ("pyneal_testSeries.nii.gz", (3, 30, 64, 64), 1.0),
        ("sct_spinal_fmri.nii.gz", (30, 6, 68, 68), 1.13),
    ],
)
def test_real_images_agree_with_nibabel(real_data, name, shape, tr):
    path = real_data / "nifti_4d" / name
    volumes = load_volumes(path)
    assert (volumes.shape, volumes.tr) == (shape, tr)
    np.testing.assert_allclose(volumes.scaled(), nib.load(path).get_fdata().T, rtol=1e-6)
    np.testing.assert_allclose(volumes.affine, nib.load(path).affine)


def test_real_unit_trap(real_data):
    # the header says 2000 seconds and means milliseconds: never guessed
    path = real_data / "nifti_4d" / "nibabel_example4d.nii.gz"
    with pytest.raises(VolumeError, match="2000 sec"):
        load_volumes(path)
    assert load_volumes(path, tr=2.0).tr == 2.0


def test_surfaces_are_named_as_what_they_are(plain, tmp_path):
    with pytest.raises(VolumeError, match="this is a CIFTI-2 file"):
        load_volumes(edit(plain, intent_code=3002))
    (tmp_path / "left.func.gii").write_text("<GIFTI/>")
    with pytest.raises(VolumeError, match=r"Surfaces \(GIFTI\) are read by"):
        load_volumes(tmp_path / "left.func.gii")
