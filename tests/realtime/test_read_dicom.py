"""One file to one volume: values, place, scaling, and what is refused."""

from __future__ import annotations

import logging
import struct
import sys
import traceback
import warnings

import make_dicom
import nibabel as nib
import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import ImplicitVRLittleEndian

from fastbrain.errors import FastbrainError, MissingPartError, VolumeError
from fastbrain.realtime import read_dicom
from fastbrain.realtime.dicom.completeness import Incomplete, read_header
from fastbrain.realtime.dicom.header import Header

# positions are written with ten decimals of a mm
PLACE_MM = 1e-8
# sform of NIfTI is float32: half a step at 128 mm
FLOAT32_MM = 128 * 2.0**-24


@pytest.fixture
def read(tmp_path):
    def one(data: bytes):
        path = tmp_path / "a.dcm"
        path.write_bytes(data)
        return read_dicom(path)

    return one


def test_gold_mosaics_equal_the_reference_conversion(real_data):
    folder = real_data / "dicom_to_nifti_gold"
    files = sorted(folder.glob("In/*/*.dcm"))
    reference = nib.load(next(folder.glob("Ref/*.nii")))
    values = np.asanyarray(reference.dataobj)
    assert len(files) == values.shape[3]
    for path in files:
        volume = read_dicom(path)
        assert volume.data.dtype == values.dtype
        assert volume.tr_s == pytest.approx(3.2)
        # the reference stores rows from the other end: map our voxels through the world into its
        step = np.linalg.inv(reference.affine) @ volume.affine
        whole = np.rint(step)
        np.testing.assert_allclose(step, whole, atol=1e-5)
        grid = np.indices(volume.data.shape[::-1]).reshape(3, -1)
        there = (whole[:3, :3] @ grid + whole[:3, 3:]).astype(int)
        found = values[(*there, volume.index)]
        np.testing.assert_array_equal(found, volume.data.transpose(2, 1, 0).ravel())
        np.testing.assert_allclose(reference.affine @ whole, volume.affine, atol=FLOAT32_MM)


@pytest.mark.parametrize("shape", [(5, 6, 7), (4, 3, 5), (10, 8, 8), (1, 6, 7), (36, 16, 16)])
@pytest.mark.parametrize("flip", [False, True])
def test_mosaic(read, shape, flip):
    data = make_dicom.voxels(shape)
    volume = read(make_dicom.mosaic(data, 3, flip=flip))
    np.testing.assert_array_equal(volume.data, data)
    assert (volume.index, volume.tr_s, volume.data.dtype) == (3, 2.0, np.int16)
    assert volume.data.flags.c_contiguous
    assert volume.acquired_s is None
    np.testing.assert_allclose(volume.affine, make_dicom.place(flip=flip), atol=PLACE_MM)


@pytest.mark.parametrize(
    "options",
    [{"with_csa": False}, {"with_count": False}, {"syntax": ImplicitVRLittleEndian}],
    ids=["no CSA header", "CSA header only", "implicit types"],
)
def test_mosaic_headers(read, options):
    data = make_dicom.voxels()
    volume = read(make_dicom.mosaic(data, **options))
    np.testing.assert_array_equal(volume.data, data)
    np.testing.assert_allclose(volume.affine, make_dicom.place(), atol=PLACE_MM)


def test_a_mosaic_that_does_not_state_its_slices(read):
    with pytest.raises(VolumeError, match="number of slices"):
        read(make_dicom.mosaic(make_dicom.voxels(), with_csa=False, with_count=False))


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 0, 3, 1, 2]])
@pytest.mark.parametrize("stacked", [True, False])
def test_enhanced(read, order, stacked):
    data = make_dicom.voxels()
    volume = read(make_dicom.enhanced(data, 6, order=order, stacked=stacked))
    np.testing.assert_array_equal(volume.data, data)
    assert (volume.index, volume.tr_s, volume.data.dtype) == (6, 2.0, np.int16)
    np.testing.assert_allclose(volume.affine, make_dicom.place(), atol=PLACE_MM)


def test_enhanced_scaling_of_each_frame(read):
    data, slopes = make_dicom.voxels(), [0.5, 1.0, 1.5, 2.0, 2.5]
    volume = read(make_dicom.enhanced(data, slopes=slopes, order=[4, 0, 3, 1, 2]))
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, data * np.float32(slopes)[:, None, None])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temporal": [1, 1, 2, 2, 2]}, "1 volume, got 2 temporal"),
        ({"order": [0, 1, 2, 3, 3]}, "evenly spaced"),
    ],
)
def test_enhanced_that_is_not_one_volume(read, options, message):
    with pytest.raises(VolumeError, match=message):
        read(make_dicom.enhanced(make_dicom.voxels(), **options))


@pytest.mark.parametrize(
    ("dtype", "bits", "high", "expected"),
    [
        (np.uint16, 12, 4000, np.int16),
        (np.uint16, 15, 32767, np.int16),
        (np.uint16, 16, 65535, np.float32),
        (np.int16, 16, 32767, np.int16),
    ],
)
def test_ranges_do_not_overflow(read, dtype, bits, high, expected):
    data = make_dicom.voxels(high=high, dtype=dtype)
    data[0, 0, 0], data[1, 1, 1] = high, np.iinfo(np.int16).min if dtype == np.int16 else 0
    volume = read(make_dicom.mosaic(data, bits=bits))
    assert volume.data.dtype == expected
    np.testing.assert_array_equal(volume.data.astype(np.int64), data.astype(np.int64))


def test_signed_values_in_twelve_bits(read):
    data = make_dicom.voxels(high=2047, dtype=np.int16) - np.int16(1000)
    # what is kept in the high bits does not belong to the value
    stored = np.bitwise_or(np.bitwise_and(data, np.int16(0x0FFF)), np.int16(0x7000))
    np.testing.assert_array_equal(read(make_dicom.mosaic(stored, bits=12)).data, data)


def test_rescale(read):
    data = make_dicom.voxels(high=65535)
    change = {"RescaleSlope": "2.25", "RescaleIntercept": "-7"}
    volume = read(make_dicom.mosaic(data, bits=16, change=change))
    np.testing.assert_allclose(volume.data, data * 2.25 - 7, rtol=2.0**-23)
    with pytest.raises(VolumeError, match="RescaleSlope"):
        read(make_dicom.mosaic(data, change={"RescaleSlope": "0", "RescaleIntercept": "0"}))


def test_rle_is_decoded_and_other_compression_is_refused(read, tmp_path):
    from pydicom import dcmread
    from pydicom.uid import RLELossless

    data = make_dicom.voxels()
    path = tmp_path / "plain.dcm"
    path.write_bytes(make_dicom.mosaic(data))
    ds = dcmread(path)
    ds.compress(RLELossless)
    packed = make_dicom.written(ds, syntax=RLELossless)
    np.testing.assert_array_equal(read(packed).data, data)
    for cut in (1, 8, 9, 100):
        with pytest.raises(VolumeError, match="complete"):
            read(packed[:-cut])
    ds = dcmread(path)
    ds.PixelData = encapsulate([b"\xff\xd8 no JPEG at all"])
    ds["PixelData"].is_undefined_length = True
    with pytest.raises(VolumeError, match="decodable by pydicom"):
        read(make_dicom.written(ds, syntax="1.2.840.10008.1.2.4.80"))
    deflated = make_dicom.mosaic(data).replace(
        b"\x02\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0",
        b"\x02\0\x10\0UI\x16\x001.2.840.10008.1.2.1.99",
    )
    with pytest.raises(VolumeError, match="deflated"):
        read(deflated.replace(deflated[140:144], struct.pack("<I", deflated[140] + 2), 1))


@pytest.mark.parametrize("kind", ["mosaic", "enhanced"])
def test_every_part_of_a_file_is_incomplete(kind):
    whole = getattr(make_dicom, kind)(make_dicom.voxels((5, 3, 4)))
    assert isinstance(read_header(whole), Header)
    assert isinstance(read_header(whole + b"trailing"), Header)
    for length in range(len(whole)):
        found = read_header(whole[:length])
        assert isinstance(found, Incomplete)
        assert length < found.needed <= len(whole)
        assert found.index in (None, 0)


def test_pixels_that_do_not_fit_the_header(read):
    data = make_dicom.voxels()
    with pytest.raises(VolumeError, match="must hold the"):
        read(make_dicom.mosaic(data, change={"PixelData": b"\0" * 8}))
    with pytest.raises(VolumeError, match="one sample"):
        read(make_dicom.mosaic(data, change={"SamplesPerPixel": 3}))


def test_a_single_slice_is_a_volume_of_one(read):
    data = make_dicom.voxels()
    volume = read(make_dicom.slices(data, 2)[3])
    np.testing.assert_array_equal(volume.data, data[3:4])
    assert volume.index == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "complete"), (b"\0" * 200, "preamble"), (b"x" * 140, "preamble")],
)
def test_files_that_are_not_dicom(read, content, message):
    with pytest.raises(VolumeError, match=message):
        read(content)


def test_missing_files_and_parts(tmp_path, monkeypatch):
    with pytest.raises(VolumeError, match="No such file"):
        read_dicom(tmp_path / "none.dcm")
    with pytest.raises(VolumeError, match="directory"):
        read_dicom(tmp_path)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingPartError, match=r"fastbrain-fmri\[realtime\]"):
        read_dicom(tmp_path / "none.dcm")


@pytest.mark.parametrize("damage", ["none", "position", "cut", "csa"])
def test_patients_stay_in_the_file(read, damage, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    whole = make_dicom.mosaic(make_dicom.voxels(), change={"InstitutionName": make_dicom.PATIENT})
    name = make_dicom.PATIENT.encode()
    assert name in whole
    if damage == "position":
        at = whole.index(b"\x20\0\x32\0DS")
        whole = whole[: at + 8] + name + whole[at + 8 + len(name) :]
    elif damage == "csa":
        whole = whole.replace(b"SliceNormalVector", b"Slice" + name + b"or").replace(
            b"NumberOfImagesInMosaic", name.ljust(22, b"x")
        )
    elif damage == "cut":
        whole = whole[: whole.index(name) + 4]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            text = repr(read(whole))
        except FastbrainError as error:
            text = "".join(traceback.format_exception(error))
    out = capfd.readouterr()
    said = " ".join([text, caplog.text, out.out, out.err, *(str(w.message) for w in caught)])
    assert "JANE" not in said
    assert "4711" not in said
