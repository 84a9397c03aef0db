"""Every decoder of gzip files gives the same voxels, and refuses the same damage."""

from __future__ import annotations

import gzip
import random
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fastbrain.data import load_volumes
from fastbrain.data.readers.gunzip import VARIABLE, decoder, installed
from fastbrain.errors import ConfigError, VolumeError

SHAPE_XYZT = (7, 6, 5, 11)
FLIPS = 40


@pytest.fixture(params=["isal", "zlib-ng", "zlib"])
def chosen(request, monkeypatch) -> str:
    if request.param not in installed():
        pytest.skip(f"{request.param} is not installed")
    monkeypatch.setenv(VARIABLE, request.param)
    return request.param


def scan(path: Path, dtype: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 200, SHAPE_XYZT).astype(dtype)
    header = nib.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(stored.dtype)
    image = nib.Nifti1Image(stored, np.eye(4), header)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 2.0
    image.to_filename(path)
    return stored.T


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4", "u1"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_series_are_the_voxels_of_all_volumes(chosen, tmp_path, dtype, suffix):
    stored = scan(tmp_path / f"x{suffix}", dtype)
    volumes = load_volumes(tmp_path / f"x{suffix}")
    voxels = np.flatnonzero(np.random.default_rng(1).random(stored[0].size) < 0.3)
    found = volumes.series(voxels)
    assert found.dtype == stored.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, stored.reshape(len(stored), -1)[:, voxels])
    # the same once the run was read as a whole
    np.testing.assert_array_equal(volumes.raw(), stored)
    np.testing.assert_array_equal(volumes.series(voxels), found)
    assert decoder().name == chosen


def test_members_of_a_gzip_file_are_joined(chosen, tmp_path):
    stored = scan(tmp_path / "x.nii", "<i2")
    plain = (tmp_path / "x.nii").read_bytes()
    joined = gzip.compress(plain[:400]) + gzip.compress(plain[400:])
    (tmp_path / "x.nii.gz").write_bytes(joined)
    found = load_volumes(tmp_path / "x.nii.gz").series(np.arange(stored[0].size))
    np.testing.assert_array_equal(found, stored.reshape(len(stored), -1))


def test_damage_is_an_error_that_names_the_file(chosen, tmp_path):
    path = tmp_path / "x.nii.gz"
    scan(path, "<i2")
    whole = path.read_bytes()
    rng = random.Random(0)
    damaged = [whole[: rng.randrange(len(whole) // 4, len(whole) - 1)] for _ in range(FLIPS)]
    for _ in range(FLIPS):
        data = bytearray(whole)
        # behind the time of modification and the name, which no checksum covers
        place = rng.randrange(len(whole) // 10, len(whole) - 4)
        data[place] ^= 1 << rng.randrange(8)
        damaged.append(bytes(data))
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(VolumeError, match=str(path)):
            load_volumes(path).series(np.arange(10))


def test_more_than_the_header_promises_is_refused(chosen, tmp_path):
    scan(tmp_path / "x.nii", "u1")
    data = (tmp_path / "x.nii").read_bytes() + bytes(3 << 20)
    (tmp_path / "x.nii.gz").write_bytes(zlib.compress(data, 1, wbits=31))
    with pytest.raises(VolumeError, match="over 1 MiB more"):
        load_volumes(tmp_path / "x.nii.gz").series(np.arange(3))


def test_an_unknown_decoder_is_named(monkeypatch, tmp_path):
    scan(tmp_path / "x.nii.gz", "<i2")
    monkeypatch.setenv(VARIABLE, "pigz")
    with pytest.raises(ConfigError, match=r"must be one of .*zlib.*, got 'pigz'"):
        load_volumes(tmp_path / "x.nii.gz")
