"""Small files that claim to be large are refused before memory or time is spent on them."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastbrain._arrays import read_npy, read_npz
from fastbrain._io import read_json
from fastbrain._parquet import read_columns
from fastbrain.data import load_volumes, read_mask
from fastbrain.errors import CheckpointError, CohortError, StoreError, VolumeError
from fastbrain.llm4brain.published_weights import read_tensors

MOST = 24 << 20  # bytes; what the bombs claim is several times as much


def image(path: Path, shape: tuple[int, ...] = (2, 2, 2, 2), **fields) -> bytes:
    nib.save(nib.Nifti1Image(np.zeros(shape, np.int16), np.eye(4)), path)
    data = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(data[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    data[:348] = header.binaryblock
    return bytes(data)


@pytest.fixture
def gzip_of_zeros() -> bytes:
    """3 GB of zeros in 3 MB: members of a gzip file follow each other."""
    return gzip.compress(bytes(16 << 20)) * 192


@pytest.mark.parametrize(
    ("shape", "read"),
    [
        ((2, 2, 2, 2), lambda path: load_volumes(path, tr=2.0)),
        ((2, 2, 2), lambda path: read_mask(path, shape=(2, 2, 2), affine=np.eye(4))),
    ],
    ids=["run", "mask"],
)
def test_an_offset_behind_gigabytes_of_zeros(tmp_path, bounded, gzip_of_zeros, shape, read):
    path = tmp_path / "bold.nii.gz"
    data = gzip.compress(image(tmp_path / "a.nii", shape, vox_offset=3e9))
    path.write_bytes(data + gzip_of_zeros)
    assert path.stat().st_size < 4 << 20
    with bounded(MOST), pytest.raises(VolumeError, match="vox_offset"):
        read(path)


def test_gigabytes_of_zeros_behind_the_voxels(tmp_path, bounded, gzip_of_zeros):
    path = tmp_path / "bold.nii.gz"
    path.write_bytes(gzip.compress(image(tmp_path / "a.nii")) + gzip_of_zeros)
    volumes = load_volumes(path, tr=2.0)
    with bounded(MOST), pytest.raises(VolumeError, match="over 1 MiB more"):
        volumes.raw()


@pytest.mark.parametrize("name", ["bold.nii", "bold.nii.gz"])
def test_an_image_of_a_terabyte(tmp_path, bounded, name):
    path = tmp_path / name
    data = image(tmp_path / "a.nii", dim=[4, 30000, 30000, 1000, 1, 1, 1, 1])
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    with bounded(MOST), pytest.raises(VolumeError, match="truncated"):
        load_volumes(path, tr=2.0, max_bytes=1 << 50)


def npy(header: str, *, version: int = 1, length: int | None = None) -> bytes:
    text = header.encode()
    pack = struct.pack("<H" if version == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + pack + text


NPY = {
    "shape": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000)}\n"),
    "header": npy("{'descr': '<f8'", version=2, length=(1 << 32) - 1),
    "no bytes a value": npy("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000,)}\n"),
    "addresses of objects": npy("{'descr': '|O', 'fortran_order': False, 'shape': (8,)}\n"),
    "nested header": npy("(" * 9000 + "\n"),
}


@pytest.mark.parametrize("what", NPY)
@pytest.mark.parametrize("mmap", [True, False])
def test_arrays_larger_than_their_file(tmp_path, bounded, what, mmap):
    path = tmp_path / "a.npy"
    path.write_bytes(NPY[what] + bytes(64))
    with bounded(MOST), pytest.raises(StoreError, match=r"a\.npy must"):
        read_npy(path, where="f", error=StoreError, mmap=mmap)


def archive(path: Path, data: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("a.npy", data)
    return path


def test_an_archive_of_zeros_behind_a_small_array(tmp_path, bounded):
    data = io.BytesIO()
    np.save(data, np.zeros(3))
    path = archive(tmp_path / "a.npz", data.getvalue() + bytes(96 << 20))
    assert path.stat().st_size < 1 << 20
    with bounded(MOST), pytest.raises(StoreError, match="must hold 24 bytes"):
        read_npz(path, ["a"], where="f", error=StoreError)


def test_an_archive_that_unpacks_more_than_deflate_can(tmp_path, bounded):
    path = archive(tmp_path / "a.npz", NPY["shape"] + bytes(64))
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    # the size once unpacked, of the central directory
    data[at + 24 : at + 28] = struct.pack("<I", (1 << 32) - 2)
    path.write_bytes(data)
    with bounded(MOST), pytest.raises(StoreError, match="must hold its arrays"):
        read_npz(path, ["a"], where="f", error=StoreError)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_of_another_method(tmp_path, bounded, method):
    path = archive(tmp_path / "a.npz", bytes(32 << 20), method)
    with bounded(MOST), pytest.raises(StoreError, match="must hold its arrays"):
        read_npz(path, ["a"], where="f", error=StoreError)


def test_archives_whose_members_share_their_bytes(tmp_path, bounded):
    path = archive(tmp_path / "a.npz", bytes(1 << 20))
    data = path.read_bytes()
    at, end = data.rindex(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    entry = data[at:end]
    tail = bytearray(data[end:])
    tail[8:12] = struct.pack("<HH", 500, 500)
    tail[12:16] = struct.pack("<I", 500 * len(entry))
    path.write_bytes(data[:at] + entry * 500 + tail)
    with bounded(MOST), pytest.raises(StoreError, match="as long as its arrays"):
        read_npz(path, ["a"], where="f", error=StoreError)


ROWS = 2_000_000


def tables() -> dict[str, tuple[pa.Table, dict[str, object]]]:
    same = pa.array(np.zeros(ROWS, np.int8))
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(500, np.int8)), ["x" * 100_000])
    return {
        "rows": (pa.table({"a": same}), {}),
        "another compression": (pa.table({"a": ["x" * (64 << 20)]}), {"compression": "zstd"}),
        "lists": (pa.table({"a": pa.array([[0] * ROWS])}), {}),
        "bytes": (pa.table({"a": text.cast(pa.binary())}), {"store_schema": False}),
    }


@pytest.mark.parametrize("what", ["rows", "another compression", "lists", "bytes"])
def test_tables_larger_than_their_file(tmp_path, bounded, what):
    path = tmp_path / "a.parquet"
    table, options = tables()[what]
    pq.write_table(table, path, **options)
    assert path.stat().st_size < 1 << 20
    del table
    with bounded(MOST), pytest.raises(StoreError, match="a table of ours"):
        read_columns(path, where="f", error=StoreError)


def test_a_text_of_many_rows_is_held_once(tmp_path, bounded):
    path = tmp_path / "a.parquet"
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2000, np.int16)), ["x" * 100_000])
    pq.write_table(pa.table({"a": text.cast(pa.string())}), path, store_schema=False)
    with bounded(MOST):
        columns, _ = read_columns(path, where="f", error=StoreError)
    assert columns["a"] == ["x" * 100_000] * 2000


# the field of the row groups; then a list of a billion structs, of a billion numbers of eight bytes
# that need not be there, and lists in lists
FOOTERS = {
    "structs": b"\x49\xfc\xff\xff\xff\xff\x03" + bytes(100),
    "numbers": b"\x49\xf7\xff\xff\xff\xff\x03" + bytes(100),
    "lists": b"\x49" + b"\x19" * 5000,
    "long": b"\x49\xf5\x80\x80\x80\x01" + bytes(2 << 20),
}


@pytest.mark.parametrize("what", FOOTERS)
@pytest.mark.parametrize("claimed", [None, (1 << 32) - 1])
def test_a_footer_of_many_entries(tmp_path, bounded, what, claimed):
    path = tmp_path / "a.parquet"
    data = FOOTERS[what]
    path.write_bytes(b"PAR1" + data + struct.pack("<I", claimed or len(data)) + b"PAR1")
    with bounded(MOST), pytest.raises(StoreError, match=r"footer of \d+ bytes"):
        read_columns(path, where="f", error=StoreError)


@pytest.mark.parametrize("length", [1 << 30, 1 << 62])
def test_weights_with_a_header_longer_than_their_file(tmp_path, bounded, length):
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b'{"a":{}}' + bytes(64))
    with bounded(MOST), pytest.raises(CheckpointError, match="safetensors"):
        read_tensors(path)


def test_weights_larger_than_their_file(tmp_path, bounded):
    path = tmp_path / "a.safetensors"
    about = b'{"a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4000000000]}}'
    path.write_bytes(struct.pack("<Q", len(about)) + about + bytes(64))
    with bounded(MOST), pytest.raises(CheckpointError, match="safetensors"):
        read_tensors(path)


def test_json_beyond_its_cap(tmp_path, bounded):
    path = tmp_path / "a.json"
    with open(path, "wb") as file:
        file.truncate(1 << 30)
    with bounded(MOST), pytest.raises(CohortError, match="64 MiB"):
        read_json(path)
