"""Arrays are read as numpy wrote them, or refused with an error of the caller's kind."""

from __future__ import annotations

import io

import numpy as np
import pytest

from fastbrain._arrays import read_npy, read_npz
from fastbrain.errors import CohortError, StoreError

ARRAYS = {
    "floats": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "big-endian": np.arange(6, dtype=">i2"),
    "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "booleans": np.array([[True, False]]),
    "one value": np.array(3.5),
    "nothing": np.zeros((0, 3)),
    "a long header": np.zeros((1,) * 32, np.complex64),
}


def read(path, **options):
    return read_npy(path, where="reader", error=CohortError, **options)


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("name", ARRAYS)
def test_what_numpy_wrote_comes_back(tmp_path, name, mmap):
    array = ARRAYS[name]
    np.save(tmp_path / "a.npy", array)
    found = read(tmp_path / "a.npy", mmap=mmap, shape=array.shape, dtype=array.dtype)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype
    assert isinstance(found, np.memmap) == (mmap and array.size > 0)


def test_a_header_of_the_second_version(tmp_path):
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array(file, np.arange(5), version=(2, 0))
    np.testing.assert_array_equal(read(tmp_path / "a.npy"), np.arange(5))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_come_back(tmp_path, save):
    save(tmp_path / "a.npz", **{name.replace(" ", "_"): array for name, array in ARRAYS.items()})
    names = [name.replace(" ", "_") for name in ARRAYS]
    found = read_npz(tmp_path / "a.npz", names, where="reader", error=StoreError)
    for name, array in zip(names, ARRAYS.values(), strict=True):
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("change", [-5, 5])
def test_a_file_that_is_cut_or_too_long_is_refused(tmp_path, change, mmap):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(6.0))
    data = path.read_bytes()
    path.write_bytes(data[:change] if change < 0 else data + bytes(change))
    with pytest.raises(CohortError, match=rf"reader: .*a\.npy must hold 48 bytes.*{48 + change}"):
        read(path, mmap=mmap)


@pytest.mark.parametrize("expected", [{"shape": (3, 2)}, {"dtype": np.float32}, {"dtype": ">f8"}])
def test_another_array_than_expected_is_refused(tmp_path, expected):
    np.save(tmp_path / "a.npy", np.zeros((2, 3)))
    with pytest.raises(CohortError, match=r"must be .* of shape .*, got float64 of shape \(2, 3\)"):
        read(tmp_path / "a.npy", **expected)


def objects() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize("data", [objects(), b"", b"\x93NUMPY", b"PK\x03\x04", b"\0" * 200])
def test_what_is_no_array_is_refused(tmp_path, data):
    path = tmp_path / "a.npy"
    path.write_bytes(data)
    with pytest.raises(CohortError, match=r"reader: .*a\.npy must"):
        read(path)
    with pytest.raises(StoreError, match=r"reader: .*a\.npy must be readable"):
        read_npz(path, ["a"], where="reader", error=StoreError)


def test_what_is_absent_is_named(tmp_path):
    np.savez(tmp_path / "a.npz", one=np.zeros(2))
    with pytest.raises(StoreError, match="two"):
        read_npz(tmp_path / "a.npz", ["two"], where="reader", error=StoreError)
    with pytest.raises(CohortError, match="No such file"):
        read(tmp_path / "none.npy")


def test_a_damaged_member_is_refused_by_its_checksum(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, one=np.arange(40.0))
    data = bytearray(path.read_bytes())
    data[data.index(np.arange(40.0).tobytes()) + 100] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="CRC"):
        read_npz(path, ["one"], where="reader", error=StoreError)
