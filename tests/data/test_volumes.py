"""Every property that is checked when an image is opened, and what reading returns."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fastbrain.data import load_volumes
from fastbrain.data.detrend import check_finite
from fastbrain.errors import InputError, VolumeError

SHAPE = (6, 4, 5, 3)  # T, Z, Y, X
AFFINE = np.diag([-2.0, 2.0, 2.5, 1.0])


def image(dtype=np.int16, *, tr=2.0, unit="sec", shape=SHAPE, kind=nib.Nifti1Image):
    stored = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    made = kind(stored.T, AFFINE)
    made.header.set_xyzt_units("mm", unit)
    made.header["pixdim"][4] = tr
    return made, stored


def edit(path: Path, **fields) -> Path:
    """Overwrite header fields of an uncompressed NIfTI-1 file in place."""
    data = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(data[:348]), check=False)
    for name, value in fields.items():
        if isinstance(value, dict):
            for index, entry in value.items():
                header[name][index] = entry
        else:
            header[name] = value
    data[:348] = header.binaryblock
    path.write_bytes(data)
    return path


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    made, _ = image()
    nib.save(made, tmp_path / "bold.nii")
    return tmp_path / "bold.nii"


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


def test_zero_slope_means_none(plain):
    edit(plain, scl_slope=0.0, scl_inter=7.0)
    volumes = load_volumes(plain)
    np.testing.assert_array_equal(volumes.scaled(), volumes.raw())


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
    ("fields", "field"),
    [
        ({"dim": {3: 0}}, "dim"),
        ({"dim": {3: -4}}, "dim"),
        ({"dim": {0: 0}}, "dim"),
        ({"dim": {0: 9}}, "dim"),
        ({"dim": {4: 30000}}, "truncated"),
        ({"dim": {1: 30000, 2: 30000, 3: 30000, 4: 30000}}, "at most"),
        ({"datatype": 32, "bitpix": 64}, "datatype"),
        ({"datatype": 77}, "datatype"),
        ({"scl_slope": np.nan}, "scl_slope"),
        ({"scl_slope": np.inf}, "scl_slope"),
        ({"scl_inter": np.nan}, "scl_slope"),
        ({"srow_x": {0: np.nan}}, "affine"),
        ({"srow_x": {0: 0.0}}, "affine"),
        ({"vox_offset": np.nan}, "vox_offset"),
        ({"vox_offset": -352.0}, "vox_offset"),
        ({"vox_offset": 1e9}, "vox_offset"),
        ({"sizeof_hdr": 347}, "NIfTI"),
        ({"magic": b"xyz"}, "NIfTI"),
    ],
    ids=str,
)
def test_damaged_field_is_named(plain, fields, field):
    with pytest.raises(VolumeError, match=field) as caught:
        load_volumes(edit(plain, **fields))
    assert "bold.nii" in str(caught.value)


def test_three_dimensions_are_refused_with_a_hint(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), AFFINE), tmp_path / "one.nii")
    with pytest.raises(VolumeError, match="single volume"):
        load_volumes(tmp_path / "one.nii")


def test_one_slice_and_trailing_axes_are_fine(tmp_path):
    made = nib.Nifti1Image(np.zeros((3, 4, 1, 6, 1), np.int16), AFFINE)
    made.header["pixdim"][4] = 2
    nib.save(made, tmp_path / "slice.nii")
    # nibabel's own writer keeps the fifth axis
    assert load_volumes(tmp_path / "slice.nii").shape == (6, 1, 4, 3)


def test_cap_is_the_callers(plain):
    with pytest.raises(VolumeError, match="at most 100 bytes"):
        load_volumes(plain, max_bytes=100)


def test_cap_holds_before_any_allocation(tmp_path):
    # a kilobyte of gzip that promises 2 TiB
    made, _ = image()
    path = tmp_path / "bomb.nii"
    nib.save(made, path)
    edit(path, dim={1: 32000, 2: 32000, 3: 1000, 4: 1})
    packed = tmp_path / "bomb.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(VolumeError, match="at most"):
        load_volumes(packed)
    with pytest.raises(VolumeError, match="truncated"):
        load_volumes(packed, max_bytes=1 << 50)


def test_form_disagreement_is_noted(plain):
    volumes = load_volumes(edit(plain, qoffset_x=1.0, qform_code=1))
    assert [n.field for n in volumes.notes] == ["qform"]
    assert "1 mm" in volumes.notes[0].message
    assert load_volumes(edit(plain, qoffset_x=0.05)).notes == ()


@pytest.mark.parametrize("keep", [0, 3, 200, 347, 400, -1])
def test_truncated(plain, keep):
    plain.write_bytes(plain.read_bytes()[:keep])
    with pytest.raises(VolumeError):
        load_volumes(plain).raw()


@pytest.mark.parametrize("damage", ["tail", "crc", "middle", "short", "long"])
def test_damaged_gzip(tmp_path, plain, damage):
    raw = plain.read_bytes()
    packed = bytearray(gzip.compress(raw))
    if damage == "tail":
        packed = packed[:-20]
    elif damage == "crc":
        packed[-6] ^= 1
    elif damage == "middle":
        packed[len(packed) // 2] ^= 255
    elif damage == "short":
        packed = bytearray(gzip.compress(raw[:-7]))
    else:
        packed = bytearray(gzip.compress(raw + bytes(3 << 20)))
    path = tmp_path / "bad.nii.gz"
    path.write_bytes(packed)
    with pytest.raises(VolumeError, match=r"bad\.nii\.gz"):
        load_volumes(path).raw()


def test_missing_and_wrong_names(tmp_path):
    with pytest.raises(VolumeError, match="exists"):
        load_volumes(tmp_path / "none.nii")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(VolumeError, match="end in"):
        load_volumes(tmp_path / "a.txt")
    (tmp_path / "link.nii.gz").symlink_to("../.git/annex/objects/none")
    with pytest.raises(VolumeError, match="datalad get"):
        load_volumes(tmp_path / "link.nii.gz")
    with pytest.raises(InputError, match="path must be"):
        load_volumes(tmp_path / f"{'9' * 400}.nii")
    (tmp_path / "dir.nii").mkdir()
    with pytest.raises(VolumeError):
        load_volumes(tmp_path / "dir.nii")


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
