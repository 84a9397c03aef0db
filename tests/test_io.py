"""What reaches disk is whole or absent, inside its folder, and equal to its digest."""

from __future__ import annotations

import errno
import hashlib
import os
import stat

import pytest
from disk_faults import names, no_space

from fastbrain import _io
from fastbrain.errors import (
    CheckpointError,
    CohortError,
    DiskError,
    FastbrainError,
    InputError,
    OutputExistsError,
    StoreError,
)


@pytest.mark.parametrize(
    "contents", [b"\x00\x01", "text µ", lambda file: file.write(b"streamed")], ids=type
)
def test_write_atomic_writes(tmp_path, contents):
    path = _io.write_atomic(tmp_path / "a" / "b.bin", contents)
    expected = {bytes: b"\x00\x01", str: "text µ".encode()}.get(type(contents), b"streamed")
    assert path.read_bytes() == expected
    assert names(path.parent) == ["b.bin"]


def test_write_atomic_replaces(tmp_path):
    path = tmp_path / "x"
    _io.write_atomic(path, "old")
    _io.write_atomic(path, "new")
    assert path.read_text() == "new"


def test_written_files_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        path = _io.write_atomic(tmp_path / "x", b"")
        with _io.folder_atomic(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o750


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")

    def write(file):
        file.write(b"half")
        file.flush()
        assert path.read_text() == "old"

    _io.write_atomic(path, write)
    assert path.read_text() == "half"


@pytest.mark.parametrize("stage", ["mkstemp", "fsync", "chmod", "replace", "write"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, stage):
    path = tmp_path / "x"
    path.write_text("old")
    contents = b"new"
    if stage == "mkstemp":
        monkeypatch.setattr(_io.tempfile, "mkstemp", no_space)
    elif stage == "write":
        contents = no_space
    else:
        monkeypatch.setattr(_io.os, stage, no_space)
    with pytest.raises(DiskError, match="the disk is full"):
        _io.write_atomic(path, contents)
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x"]


def test_a_disk_error_is_an_os_error(tmp_path, monkeypatch):
    monkeypatch.setattr(_io.os, "replace", no_space)
    with pytest.raises(OSError, match="x must be writable"):
        _io.write_atomic(tmp_path / "x", b"")


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()], ids=repr)
def test_an_interrupted_write_leaves_nothing(tmp_path, error):
    def write(file):
        file.write(b"half")
        raise error

    with pytest.raises(type(error)):
        _io.write_atomic(tmp_path / "x", write)
    assert names(tmp_path) == []


@pytest.fixture
def read_only(tmp_path):
    """A folder in which nothing can be made; a file in its place where permissions are ignored."""
    path = tmp_path / "folder"
    path.mkdir()
    path.chmod(0o555)
    probe = path / "probe"
    try:
        probe.touch()
    except OSError:
        yield path
    else:
        # root ignores permissions; a file in the place of the folder refuses root as well
        probe.unlink()
        path.rmdir()
        path.write_text("")
        yield path
    path.chmod(0o755)


def test_a_read_only_folder_is_a_disk_error(read_only):
    with pytest.raises(DiskError, match="must be writable"):
        _io.write_atomic(read_only / "x", b"")
    with (
        pytest.raises(DiskError, match="must be writable"),
        _io.folder_atomic(read_only / "sub" / "folder"),
    ):
        pass
    with pytest.raises(DiskError, match="must be writable"):
        _io.new_output(read_only / "out")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.0, float("-inf")]])
def test_json_is_finite(tmp_path, value):
    with pytest.raises(InputError, match="finite"):
        _io.write_json(tmp_path / "x.json", {"a": value})
    assert names(tmp_path) == []


@pytest.mark.parametrize("write", [_io.write_json, _io.write_atomic])
def test_text_that_is_no_unicode_is_refused(tmp_path, write):
    """A file name of another encoding, say."""
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(InputError, match=r"valid Unicode, got '.*donn\\udce9es"):
        write(path, os.fsdecode(b"donn\xe9es"))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x"]


def test_what_cannot_be_json_is_refused(tmp_path):
    with pytest.raises(InputError, match="JSON"):
        _io.write_json(tmp_path / "x.json", {"a": object()})


@pytest.mark.parametrize("error", [StoreError, CheckpointError, DiskError])
def test_errors_of_ours_pass_as_they_are(tmp_path, error):
    """They are OSErrors as well, and say more than that a file cannot be written."""

    def write(file):
        raise error("mine")

    with pytest.raises(error, match=r"^mine$"):
        _io.write_atomic(tmp_path / "x", write)


def test_json_round_trip(tmp_path):
    value = {"a": [1, 2.5, None, "µ"], "b": {"c": True}}
    assert _io.read_json(_io.write_json(tmp_path / "x.json", value)) == value


@pytest.mark.parametrize(
    "contents",
    [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"nonsense", b"9" * 5000],
    ids=["empty", "open", "not-text", "deep", "word", "digits"],
)
def test_damaged_json_is_a_cohort_error(tmp_path, contents):
    path = tmp_path / "x.json"
    path.write_bytes(contents)
    with pytest.raises(CohortError, match=r"x\.json"):
        _io.read_json(path)


def test_a_name_with_two_values_is_refused(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": {"1": "a dog", "1": "a cat"}}')
    with pytest.raises(CohortError, match="'1' occurs twice, with different values"):
        _io.read_json(path)
    path.write_text('{"1": "a dog", "1": "a dog"}')
    assert _io.read_json(path) == {"1": "a dog"}


def test_missing_and_oversized_json(tmp_path, monkeypatch):
    with pytest.raises(CohortError, match=r"none\.json"):
        _io.read_json(tmp_path / "none.json")
    path = _io.write_json(tmp_path / "x.json", list(range(100)))
    monkeypatch.setattr(_io, "_JSON_CAP", 10)
    with pytest.raises(CohortError, match="64 MiB"):
        _io.read_json(path)


@pytest.mark.parametrize("parts", [("a",), ("a", "b.txt"), ("a", "..", "b"), (".",)])
def test_safe_join_inside(tmp_path, parts):
    assert _io.safe_join(tmp_path, *parts) == tmp_path.resolve().joinpath(*parts)


@pytest.mark.parametrize(
    "parts",
    [
        ("..",),
        ("a", "..", "..", "b"),
        ("/etc/passwd",),
        ("a", "/etc"),
        ("../root-twin/x",),
        ("\0",),
    ],
)
def test_safe_join_refuses_to_leave(tmp_path, parts):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "twin").mkdir()
    with pytest.raises(CohortError, match="stay inside"):
        _io.safe_join(root, *parts)


def test_safe_join_follows_links_before_it_judges(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("")
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    (root / "loop").symlink_to(root / "loop")
    (root / "fine").symlink_to(root / "real")
    (root / "real").mkdir()
    for parts in (("folder",), ("folder", "secret"), ("folder", "new"), ("file",)):
        with pytest.raises(CohortError, match="stay inside"):
            _io.safe_join(root, *parts)
    assert _io.safe_join(root, "fine", "x").parent.resolve() == (root / "real").resolve()
    try:
        looped = _io.safe_join(root, "loop", "x")
    except CohortError:
        return
    # a loop may be let through, as nothing can be opened behind it
    with pytest.raises(OSError, match="loop"):
        looped.open()


def test_new_output(tmp_path):
    path = _io.new_output(tmp_path / "a" / "b")
    assert _io.new_output(path) == path
    (path / "x").touch()
    with pytest.raises(OutputExistsError, match="--resume"):
        _io.new_output(path)
    assert _io.new_output(path, resume=True) == path
    with pytest.raises(OutputExistsError):
        _io.new_output(path / "x")


def test_sha256_is_of_the_bytes(tmp_path, monkeypatch):
    data = bytes(range(256)) * 5
    path = tmp_path / "x"
    path.write_bytes(data)
    monkeypatch.setattr(_io, "_HASH_BLOCK", 101)
    assert _io.sha256(path) == hashlib.sha256(data).hexdigest()


def test_verify_catches_every_flipped_bit(tmp_path):
    data = bytearray(b"voxels of nine bytes or so")
    path = tmp_path / "x"
    path.write_bytes(data)
    digests = {"x": _io.sha256(path)}
    _io.verify(tmp_path, digests)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(StoreError, match="sha256"):
            _io.verify(tmp_path, digests)


def test_verify_of_an_unreadable_file(tmp_path, monkeypatch):
    (tmp_path / "x").touch()

    def broken(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(_io, "sha256", broken)
    with pytest.raises(CheckpointError, match=r"must be readable.*Input/output error"):
        _io.verify(tmp_path, {"x": "0"}, error=CheckpointError)


def test_verify_names_what_is_missing_with_the_error_asked_for(tmp_path):
    with pytest.raises(CheckpointError, match=r"model\.safetensors must exist"):
        _io.verify(tmp_path, {"model.safetensors": "0" * 64}, error=CheckpointError)
    with pytest.raises(FastbrainError, match="stay inside"):
        _io.verify(tmp_path, {"../x": "0" * 64})
