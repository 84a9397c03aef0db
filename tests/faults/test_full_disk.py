"""A disk that is really full: what was there stays, and freeing space is all there is to do."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from file_contents import files_of

import fastbrain.data.store.convert as convert
import fastbrain.data.store.prepare as prepare
from fastbrain import _io
from fastbrain.data import VoxelStore, WindowSpec, prepare_store, read_runs_table, split_by
from fastbrain.errors import DiskError, StoreError

DISK_BYTES = 1 << 20
RUN_BYTES = 60 * 64 * 2  # voxels of a converted run


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    try:
        made = subprocess.run(mount, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no small disk can be made here: {error}")
    if made.returncode:
        pytest.skip(f"no small disk can be made here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def largest_file(count: int) -> Iterator[None]:
    """The kernel lets no file of this process grow beyond `count` bytes; Python ignores SIGXFSZ."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill(folder: Path) -> Path:
    """Take all space there is."""
    ballast = folder / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        for block in (1 << 16, 1):
            try:
                while True:
                    file.write(b"x" * block)
            except OSError:
                continue
    return ballast


def by_run(trials):
    return split_by(trials, "run", train=["1"], val=["2"], test=["3"], closed_set=True)


def make(table: Path, out: Path, **options) -> VoxelStore:
    return prepare_store(
        read_runs_table(table),
        out,
        window=WindowSpec(4.0, 2),
        kernel=(2, 2, 2),
        split=by_run,
        high_pass_s=100.0,
        **options,
    )


def test_a_file_on_a_full_disk_stays_as_it_was(small_disk):
    path = _io.write_atomic(small_disk / "x", b"old")
    fill(small_disk)
    for contents in (b"n" * 50_000, lambda file: file.write(b"n" * 50_000)):
        with pytest.raises(DiskError, match="the disk is full"):
            _io.write_atomic(path, contents)
    assert path.read_bytes() == b"old"
    assert sorted(p.name for p in small_disk.iterdir()) == ["ballast", "x"]


def test_a_folder_on_a_full_disk_stays_as_it_was(small_disk):
    def write(contents):
        with _io.folder_atomic(small_disk / "run", replace=True) as folder:
            _io.write_atomic(folder / "x", contents)

    write(b"old")
    fill(small_disk)
    with pytest.raises(DiskError, match="the disk is full"):
        write(b"n" * 50_000)
    assert files_of(small_disk / "run") == {"x": b"old"}
    assert sorted(p.name for p in small_disk.iterdir()) == ["ballast", "run"]


def test_too_small_a_disk_is_refused_before_the_work(small_disk, table, monkeypatch):
    monkeypatch.setattr(convert, "clean_run", lambda *a, **k: pytest.fail("work has begun"))
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (DISK_BYTES - 2 * RUN_BYTES))
    with pytest.raises(DiskError, match=r"must have 23.0 kB free, got \d+\.\d kB"):
        make(table, small_disk / "out")
    assert list(small_disk.iterdir()) == [ballast]


@pytest.mark.parametrize("after", [0, 1, 2, 3], ids=lambda n: f"{n} runs are written")
def test_a_disk_that_fills_up_while_a_store_is_prepared(
    small_disk, table, tmp_path, monkeypatch, after
):
    out, calls = small_disk / "out", []

    def filling(name, real):
        def call(*args, **options):
            result = real(*args, **options)
            calls.append(name)
            if len(calls) == after + 1:
                fill(small_disk)
            return result

        return call

    with monkeypatch.context() as patch:
        patch.setattr(convert, "clean_run", filling("run", convert.clean_run))
        patch.setattr(prepare, "fit_statistics", filling("end", prepare.fit_statistics))
        with pytest.raises(DiskError, match="the disk is full"):
            make(table, out)
    assert calls == ["run"] * min(after + 1, 3) + ["end"] * (after == 3)
    assert len(list(out.glob("runs/*.npy"))) == after
    assert not list(out.rglob("*.tmp"))
    with pytest.raises(StoreError, match="unfinished"):
        VoxelStore.open(out)
    (small_disk / "ballast").unlink()
    make(table, out, resume=True)
    make(table, tmp_path / "fresh")
    assert files_of(out) == files_of(tmp_path / "fresh")
    VoxelStore.open(out, verify=True)


def test_a_file_that_may_not_grow_stays_as_it_was(tmp_path):
    """Without a disk of one's own: a limit of the kernel stands for it."""
    path = _io.write_atomic(tmp_path / "x", b"old")
    with largest_file(10_000), pytest.raises(DiskError, match="must be writable"):
        _io.write_atomic(path, b"n" * 50_000)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_store_whose_files_may_not_grow(table, tmp_path):
    out = tmp_path / "out"
    with largest_file(RUN_BYTES // 2), pytest.raises(DiskError, match="must be writable"):
        make(table, out)
    assert not list(out.glob("runs/*.npy"))
    assert not list(out.rglob("*.tmp"))
    make(table, out, resume=True)
    make(table, tmp_path / "fresh")
    assert files_of(out) == files_of(tmp_path / "fresh")
