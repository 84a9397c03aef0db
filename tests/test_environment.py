"""What could not be written at the end is refused at the beginning."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastbrain import _environment, _io
from fastbrain._environment import (
    check_environment,
    check_launch,
    check_name,
    environment,
    is_follower,
)
from fastbrain.errors import CohortError, ConfigError, DiskError, InputError

ODD = os.fsdecode(b"donn\xe9es")


@pytest.fixture
def blocked(tmp_path):
    """A path under which no file can be made, not even by root."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "below"


def test_nothing_is_left_behind(tmp_path):
    check_environment(tmp_path / "a" / "b", needed_bytes=1000)
    assert not list(tmp_path.iterdir())


def test_too_little_space(tmp_path):
    with pytest.raises(DiskError, match=r"train: the disk of .*out must have 1000000000.0 GB free"):
        check_environment(tmp_path / "out", needed_bytes=1e18, function="train")


def test_a_folder_that_takes_no_files(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(_io.tempfile, "mkstemp", refuse)
    with pytest.raises(DiskError, match="Read-only file system"):
        check_environment(tmp_path / "out")
    with pytest.raises(DiskError, match="Read-only file system"):
        _io.new_output(tmp_path / "out")
    (tmp_path / "out" / "x").touch()
    with pytest.raises(DiskError, match="Read-only file system"):
        _io.new_output(tmp_path / "out", resume=True)


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch, blocked):
    monkeypatch.setenv("FASTBRAIN_CACHE", str(blocked))
    check_environment(tmp_path / "out")
    with pytest.raises(DiskError, match="Set FASTBRAIN_CACHE"):
        check_environment(tmp_path / "out", cache=True)
    monkeypatch.setenv("FASTBRAIN_CACHE", str(tmp_path / "cache"))
    check_environment(tmp_path / "out", cache=True)
    assert not list((tmp_path / "cache").iterdir())


def test_a_user_without_a_home(monkeypatch):
    monkeypatch.delenv("FASTBRAIN_CACHE", raising=False)

    def no_home(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    with pytest.raises(DiskError, match=r"home folder, got none.*Set FASTBRAIN_CACHE"):
        _io.cache_folder()
    assert "cannot be used" in dict(environment())["cache folder"]


def test_the_cache_may_be_named_from_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FASTBRAIN_CACHE", "~/own")
    assert _io.cache_folder() == tmp_path / "own"


def test_names_that_are_not_utf_8(tmp_path):
    with pytest.raises(InputError, match=r"valid UTF-8, got '.*donn\\udce9es'.*Rename") as told:
        check_environment(tmp_path / ODD)
    str(told.value).encode()
    with pytest.raises(CohortError, match="plan"):
        check_name(Path(ODD), function="plan", error=CohortError)
    check_name("Zoë", function="plan")


def test_what_the_doctor_says(monkeypatch, tmp_path, blocked):
    monkeypatch.setenv("FASTBRAIN_CACHE", str(tmp_path / "none" / "yet"))
    rows = dict(environment())
    assert rows["names of files"].startswith("utf-8")
    assert "writable" in rows["working folder"]
    assert f"{tmp_path}, writable" in rows["cache folder"]
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (2.5e6, "2.5 MB"), (3e13, "30000.0 GB")]
)
def test_sizes(count, text):
    assert _environment._size(count) == text


JOINED = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}


@pytest.mark.parametrize(
    ("given", "fits", "follows"),
    [
        ({}, True, False),
        (JOINED, True, True),
        ({**JOINED, "RANK": "0"}, True, False),
        # processes that do not know of each other
        ({"SLURM_STEP_NUM_TASKS": "2"}, False, False),
        ({"WORLD_SIZE": "2", "RANK": "1"}, False, False),
        # one torchrun on each of two machines
        ({**JOINED, "SLURM_STEP_NUM_TASKS": "2"}, True, True),
    ],
)
def test_processes_that_know_of_each_other_train_together(monkeypatch, given, fits, follows):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert is_follower() == follows
    if fits:
        check_launch("train")
        return
    with pytest.raises(ConfigError, match="torchrun or accelerate launch"):
        check_launch("train")
