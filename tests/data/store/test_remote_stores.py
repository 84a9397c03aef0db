"""A store behind a URL: files arrive whole and intact, once, and only when they are used."""

from __future__ import annotations

import shutil
from pathlib import Path

import fsspec
import numpy as np
import pytest
from small_store import small_store

from fastbrain._io import cache_folder
from fastbrain.cli import main
from fastbrain.data import VoxelStore, WindowLoader
from fastbrain.data.store.remote import url_of
from fastbrain.errors import MissingPartError, StoreError

URL = "memory://bucket/store"


@pytest.fixture
def bucket():
    """The file system in memory, empty before and after."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


@pytest.fixture
def store(tmp_path, bucket) -> VoxelStore:
    """A store here, and its copy behind the URL."""
    made = small_store(tmp_path)
    bucket.put(f"{made.path}/", "/bucket/store", recursive=True)
    return made


def cached() -> list[str]:
    (folder,) = (cache_folder() / "stores").iterdir()
    return sorted(p.name for p in (folder / "runs").glob("*.npy"))


@pytest.mark.parametrize("url", [URL, f"{URL}/", Path(URL)], ids=["url", "slash", "path"])
def test_a_remote_store_is_read_as_it_is_used(store, url):
    remote = VoxelStore.open(url)
    assert remote.fingerprint() == store.fingerprint()
    assert cached() == []
    first = store.split.train[0]
    np.testing.assert_array_equal(remote.window(first), store.window(first))
    assert cached() == [f"{store.by_id[first].run_id}.npy"]
    ids = [trial.trial_id for trial in store.trials]
    for mine, theirs in zip(
        *(WindowLoader(s, ids, batch_size=4, shuffle=True) for s in (store, remote)), strict=True
    ):
        np.testing.assert_array_equal(mine.voxels, theirs.voxels)


def test_the_cache_serves_without_the_network(store, bucket):
    remote = VoxelStore.open(URL, verify=True)
    assert len(cached()) == 3
    bucket.store.clear()
    again = VoxelStore.open(remote.path)
    np.testing.assert_array_equal(again.run(store.trials[0].run_id), store.run("sub-01_run-1"))
    # a run that is missing in the cache is asked for again
    (remote.path / "runs" / "sub-01_run-2.npy").unlink()
    with pytest.raises(StoreError, match=r"memory://bucket/store/runs/sub-01_run-2.npy must be"):
        VoxelStore.open(remote.path).run("sub-01_run-2")


def test_a_damaged_cache_is_filled_again(store):
    remote = VoxelStore.open(URL, verify=True)
    path = remote.path / "runs" / "sub-01_run-1.npy"
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)
    np.testing.assert_array_equal(
        VoxelStore.open(URL).run("sub-01_run-1"), store.run("sub-01_run-1")
    )


@pytest.mark.parametrize("name", ["mean.npy", "runs/sub-01_run-1.npy", "manifest.json"])
def test_what_arrives_damaged_is_refused(store, bucket, name):
    data = bytearray(bucket.cat(f"/bucket/store/{name}"))
    data[len(data) // 2] ^= 1
    bucket.pipe(f"/bucket/store/{name}", bytes(data))
    with pytest.raises(StoreError, match=rf"{Path(name).name} must "):
        VoxelStore.open(URL).run("sub-01_run-1")
    folders = (cache_folder() / "stores").iterdir()
    assert not [p for folder in folders for p in folder.rglob("*") if p.name.startswith(".")]


def test_a_transfer_that_ends_early_leaves_nothing(store, bucket, monkeypatch):
    remote = VoxelStore.open(URL)

    def ends(*_, **__):
        raise ConnectionError("reset by peer")

    monkeypatch.setattr(type(bucket), "open", ends)
    with pytest.raises(StoreError, match="ConnectionError 'reset by peer'"):
        remote.run("sub-01_run-1")
    assert cached() == []
    monkeypatch.undo()
    assert remote.run("sub-01_run-1").shape == store.run("sub-01_run-1").shape


def test_a_store_that_was_prepared_again_is_another(store, bucket, tmp_path):
    before = VoxelStore.open(URL)
    shutil.rmtree(store.path)
    again = small_store(tmp_path, kernel=(1, 2, 3))
    bucket.rm("/bucket/store", recursive=True)
    bucket.put(f"{again.path}/", "/bucket/store", recursive=True)
    now = VoxelStore.open(URL)
    assert now.path != before.path
    assert now.fingerprint() == again.fingerprint()


def test_what_is_no_store(bucket):
    with pytest.raises(StoreError, match=r"memory://nothing/manifest.json must be readable"):
        VoxelStore.open("memory://nothing")
    with pytest.raises(StoreError, match=r"(?i)protocol"):
        VoxelStore.open("nosuch://bucket/store")


def test_the_package_of_a_protocol_is_named(monkeypatch):
    def missing(*_):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(MissingPartError, match="pip install s3fs"):
        VoxelStore.open("s3://bucket/store")


def test_paths_of_this_machine_are_no_urls(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ab:").mkdir()
    (tmp_path / "ab:" / "store").touch()
    for path in ("store", "/a/b", "C:/x", "a:/b", "ab:/store", Path("x:y")):
        assert url_of(path) is None, path
    for path in ("s3://a/b", "s3:/a/b", Path("s3://a/b"), "s3://a/b/"):
        assert url_of(path) == "s3://a/b"


def test_commands_take_a_url(store, capsys):
    assert main(["store", "info", URL]) == 0
    assert store.fingerprint() in capsys.readouterr().out
