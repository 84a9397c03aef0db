"""A folder takes its final name only when it is whole, and the old one stays until then."""

from __future__ import annotations

import errno
import os

import pytest
from disk_faults import names, no_space

from fastbrain import _folders, _io
from fastbrain.errors import DiskError, OutputExistsError


def stop(error):
    raise error


def fill(path, name, then=lambda: None):
    """Put a folder with one file of this name in the place of `path`, calling `then` midway."""
    with _io.folder_atomic(path, replace=True) as temporary:
        (temporary / name).touch()
        then()


def test_folder_atomic_appears_at_the_end(tmp_path):
    path = tmp_path / "out"
    with _io.folder_atomic(path) as temporary:
        (temporary / "x").write_text("1")
        assert not path.exists()
    assert (path / "x").read_text() == "1"
    assert names(tmp_path) == ["out"]


def test_folder_atomic_refuses_what_exists(tmp_path):
    (tmp_path / "out").mkdir()
    refused = pytest.raises(OutputExistsError, match=r"^write: .* Choose another name\.$")
    with refused, _io.folder_atomic(tmp_path / "out"):
        pass
    named = pytest.raises(OutputExistsError, match=r"^save_it: .*, or pass replace=True\.$")
    with named, _io.folder_atomic(tmp_path / "out", function="save_it", offered=True):
        pass
    assert issubclass(OutputExistsError, FileExistsError)


def test_folder_atomic_replaces_the_whole_folder(tmp_path):
    path = tmp_path / "out"
    fill(path, "old")
    with _io.folder_atomic(path, replace=True) as temporary:
        (temporary / "new").touch()
        assert names(path) == ["old"]
    assert names(path) == ["new"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()], ids=repr)
def test_a_failed_folder_keeps_the_old_one(tmp_path, error):
    path = tmp_path / "out"
    fill(path, "old")
    with pytest.raises(type(error)):
        fill(path, "half", lambda: stop(error))
    assert names(path) == ["old"]
    assert names(tmp_path) == ["out"]


def test_a_full_disk_keeps_the_old_folder(tmp_path, monkeypatch):
    path = tmp_path / "out"
    fill(path, "old")
    with pytest.raises(DiskError):
        fill(path, "half", lambda: monkeypatch.setattr(_io.os, "replace", no_space))
    monkeypatch.undo()
    assert names(path) == ["old"]


def test_a_rename_that_fails_halfway_puts_the_old_folder_back(tmp_path, monkeypatch):
    path = tmp_path / "out"
    fill(path, "old")
    real, calls = os.replace, []

    def second_fails(source, target):
        calls.append(source)
        if len(calls) == 2:
            no_space()
        real(source, target)

    with pytest.raises(DiskError):
        fill(path, "half", lambda: monkeypatch.setattr(_io.os, "replace", second_fails))
    monkeypatch.undo()
    assert names(path) == ["old"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("resume", [False, True], ids=["next save", "resume"])
def test_what_a_killed_process_left_is_removed(tmp_path, resume):
    path = tmp_path / "model"
    fill(path, "old")
    # folders of the user, of another name, and of a process that lives stay
    stay = [".model.backup", ".model.abcd1234", ".cache.abcd1234"]
    for name in stay:
        (tmp_path / name).mkdir()
    for name in (".model.abcd1234.part", ".model.efgh5678.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").touch()
    with _io.folder_atomic(tmp_path / "other"):
        if resume:
            _io.new_output(tmp_path, resume=True)
        else:
            fill(path, "new")
        living = [name for name in names(tmp_path) if name.startswith(".other.")]
        assert len(living) == 1
        assert names(tmp_path) == sorted([*stay, *living, "model"])
    assert names(tmp_path / "other") == []


def test_a_folder_whose_replacement_was_killed_between_the_renames_comes_back(tmp_path):
    aside = tmp_path / ".model.abcd1234.old" / "model"
    aside.mkdir(parents=True)
    (aside / "weights").touch()
    (tmp_path / ".model.efgh5678.part").mkdir()
    _io.new_output(tmp_path, resume=True)
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["weights"]


def test_nothing_is_removed_where_folders_cannot_be_locked(tmp_path, monkeypatch):
    left = tmp_path / ".model.abcd1234.part"
    left.mkdir()

    def no_locks(*_):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(_folders.fcntl, "flock", no_locks)
    fill(tmp_path / "model", "new")
    assert names(tmp_path) == [left.name, "model"]
