"""A file is the same as before, or it is noticed."""

from __future__ import annotations

import json
import os

import pytest

from fastbrain import _digests, _io
from fastbrain._digests import difference, identity, read_sealed, write_sealed
from fastbrain.errors import CheckpointError, CohortError, StoreError

VALUE = {"tr": 2.0, "small": 1e-05, "name": "Zoë", "list": [1, None, True], "inner": {"a": {}}}


@pytest.fixture(autouse=True)
def own_memory(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FASTBRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(_digests, "_known", {})
    monkeypatch.setattr(_digests, "_recalled", set())


@pytest.fixture
def later(monkeypatch):
    """As if files had been written some time ago."""
    now = _digests.time.time_ns
    monkeypatch.setattr(_digests.time, "time_ns", lambda: now() + 10**10)


@pytest.fixture
def read(monkeypatch):
    """Names of the files that were digested."""
    names, real = [], _digests.sha256
    monkeypatch.setattr(
        _digests, "sha256", lambda path: names.append(os.path.basename(path)) or real(path)
    )
    return names


def test_sealed_json_comes_back(tmp_path):
    path = write_sealed(tmp_path / "x.json", VALUE)
    assert read_sealed(path, error=StoreError) == VALUE
    # it stays plain JSON for everybody else
    assert json.loads(path.read_text()).keys() == {*VALUE, "digest"}


def test_every_flipped_bit_of_sealed_json_is_refused(tmp_path):
    path = write_sealed(tmp_path / "x.json", VALUE)
    data = path.read_bytes()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(StoreError, match=r"x\.json"):
            read_sealed(path, error=StoreError)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", '{"digest": null}', '{"a": NaN, "digest": "0"}', "9" * 5000,
     '{"a": "\\ud800", "digest": "0"}'],
)  # fmt: skip
def test_sealed_json_without_its_digest_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"x\.json"):
        read_sealed(tmp_path / "x.json", error=CheckpointError)


def test_a_digest_is_computed_once(tmp_path, later, read, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"voxels")
    first = _digests.remembered_sha256(path)
    assert first == _io.sha256(path)
    assert _digests.remembered_sha256(path) == first
    assert read == ["x"]
    # and not again by another process
    monkeypatch.setattr(_digests, "_known", {})
    monkeypatch.setattr(_digests, "_recalled", set())
    assert _digests.remembered_sha256(path) == first
    assert read == ["x"]


def test_a_file_written_again_is_digested_again(tmp_path, later, read):
    path = tmp_path / "x"
    path.write_bytes(b"voxels")
    before = path.stat()
    first = _digests.remembered_sha256(path)
    path.write_bytes(b"voxelz")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert _digests.remembered_sha256(path) != first
    assert read == ["x", "x"]


def test_a_file_of_a_moment_ago_is_not_remembered(tmp_path, read):
    """Its next change might leave the clock of the file system where it is."""
    path = tmp_path / "x"
    path.write_bytes(b"voxels")
    _digests.remembered_sha256(path)
    _digests.remembered_sha256(path)
    assert read == ["x", "x"]


def test_a_damaged_memory_is_passed_over(tmp_path, later, read):
    path = tmp_path / "x"
    path.write_bytes(b"voxels")
    first = _digests.remembered_sha256(path)
    memory = next((_io.cache_folder() / "digests").iterdir())
    memory.write_bytes(b"\xff\n[]\n{}\n[1, 2\n" + memory.read_bytes() + b'["x", 1')
    _digests._known.clear()
    _digests._recalled.clear()
    assert _digests.remembered_sha256(path) == first
    assert read == ["x"]


@pytest.mark.parametrize("whole", [1 << 30, 4], ids=["small", "large"])
def test_identity_of_an_input(tmp_path, monkeypatch, whole):
    monkeypatch.setattr(_digests, "WHOLE_BYTES", whole)
    monkeypatch.setattr(_digests, "_END_BYTES", 4)
    path = tmp_path / "bold.nii"
    path.write_bytes(b"head middle tail")
    os.utime(path, ns=(10**18, 10**18))
    before = json.loads(json.dumps(identity(path)))
    assert difference(before, identity(path)) is None
    for contents, what in ((b"longer", "16 bytes before, 6 now"), (b"hEad middle tail", "other")):
        path.write_bytes(contents)
        os.utime(path, ns=(10**18, 10**18))
        assert what in difference(before, identity(path))
    path.write_bytes(b"head middle tail")
    os.utime(path, ns=(10**18, 10**18 + 10**9))
    # all bytes say more than a time does
    expected = None if whole > 16 else "another time of modification"
    assert difference(before, identity(path)) == expected
    assert difference(None, identity(path)) == "no identity was recorded"


def test_an_input_that_cannot_be_read(tmp_path):
    with pytest.raises(CohortError, match="must be readable"):
        identity(tmp_path / "none")
