"""No command reads a store whose bytes are not those that preparation wrote."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from fastbrain import _digests, _io
from fastbrain.cli import main
from fastbrain.data import VoxelStore, WindowSpec, prepare_store, read_runs_table, split_by
from fastbrain.errors import InputError, StoreError

FLIPS = 200
RUN = "sub-01_run-01"


def by_run(trials):
    return split_by(trials, "run", train=["01"], val=["02"], test=["03"], closed_set=True)


OPTIONS = {"window": WindowSpec(4.0, 3), "kernel": (2, 2, 3), "split": by_run, "high_pass_s": 50.0}


@pytest.fixture
def root(cohort, tmp_path) -> Path:
    runs = read_runs_table(cohort(subjects=1, trials=4))
    return prepare_store(runs, tmp_path / "out", **OPTIONS).path


def use(root: Path, *, verify: bool = False) -> None:
    store = VoxelStore.open(root, verify=verify)
    for run_id in store.info.runs:
        store.run(run_id)


def flip(path: Path, bit: int) -> None:
    """Change one bit in place, as a disk does it: size, times and inode stay."""
    before = path.stat()
    with open(path, "r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0] ^ 1 << bit % 8
        file.seek(bit // 8)
        file.write(bytes([byte]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("verify", [False, True], ids=["first use", "verify"])
def test_every_flipped_bit_is_refused(root, verify):
    # what only resuming reads is looked at when all is verified
    names = [*VoxelStore.open(root).info.files, "manifest.json"]
    if verify:
        names += ["prepare.json", f"runs/{RUN}.json"]
    rng = np.random.default_rng(0)
    refused = 0
    for i in range(FLIPS):
        path = root / names[i % len(names)]
        bit = int(rng.integers(8 * path.stat().st_size))
        flip(path, bit)
        with pytest.raises(StoreError):
            use(root, verify=verify)
        refused += 1
        flip(path, bit)
    assert refused == FLIPS
    use(root, verify=verify)


@pytest.mark.parametrize("name", ["tr", "scale", "window", "units", "high_pass_s", "root"])
def test_an_edited_manifest_is_refused(root, name):
    path = root / "manifest.json"
    value = json.loads(path.read_text())
    # each edit is a value that such a field may have
    edits = {"window": {**value["window"], "delay_s": 6.0}, "units": "zscore", "root": "/"}
    value[name] = edits.get(name, 1.5)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    with pytest.raises(StoreError, match=r"manifest\.json must match the sha256 it carries"):
        VoxelStore.open(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layout_version": 1}, "layout_version 4, got 1. Prepare the store again"),
        ({"extra": 1}, "unknown or missing keys"),
        ({"scale": 0}, "scale"),
        ({"scale": "much"}, "scale"),
        ({"runs": []}, "runs"),
        ({"root": "cohort"}, "root"),
        ({"grid": "0" * 16}, "grid of the manifest"),
        ({"kernel": [2, 2, 2]}, "grid of the manifest"),
        ({"shape": [1, 1, 1]}, "grid of the manifest"),
        ({"n_tokens": 1}, "grid of the manifest"),
        ({"files": {}}, "list each file of the store and no other, got 9 missing or unknown"),
        ({"files": {"mean.npy": "0"}}, "files is damaged"),
    ],
    ids=str,
)
def test_a_sealed_manifest_is_still_checked(root, reseal, change, message):
    reseal(root, **change)
    with pytest.raises(StoreError, match=message):
        VoxelStore.open(root)


@pytest.mark.parametrize("name", ["../../etc/passwd", "runs/other.npy", "thesis.tex"])
def test_the_list_of_files_is_exact(root, reseal, name):
    files = VoxelStore.open(root).info.files
    less = {k: v for k, v in files.items() if k != f"runs/{RUN}.npy"}
    reseal(root, files=less)
    with pytest.raises(StoreError, match=f"first 'runs/{RUN}.npy'"):
        VoxelStore.open(root, verify=True)
    reseal(root, files={**files, name: "0" * 64})
    with pytest.raises(StoreError, match="1 missing or unknown"):
        VoxelStore.open(root)


def test_a_folder_in_place_of_the_manifest_is_named(root):
    (root / "manifest.json").unlink()
    (root / "manifest.json").mkdir()
    with pytest.raises(StoreError, match=r"manifest\.json must be readable JSON, got .*directory"):
        VoxelStore.open(root)


@pytest.mark.parametrize("path", ["x" * 300, "/".join(["y" * 200] * 30), "", "a\0b"])
def test_a_name_that_no_file_can_have_is_refused(path):
    with pytest.raises(InputError, match=r"^VoxelStore\.open: path must be a path with names of"):
        VoxelStore.open(path)


def test_a_manifest_without_its_digest_is_refused(root):
    path = root / "manifest.json"
    value = json.loads(path.read_text())
    del value["digest"]
    _io.write_json(path, value)
    with pytest.raises(StoreError, match="got none"):
        VoxelStore.open(root)
    path.write_text("{")
    with pytest.raises(StoreError, match=r"manifest\.json"):
        VoxelStore.open(root)


@pytest.mark.parametrize(
    "name", ["mean.npy", "grid.npz", "trials.parquet", "split.json", f"runs/{RUN}.npy"]
)
def test_missing_and_shortened_files(root, name):
    data = (root / name).read_bytes()
    (root / name).write_bytes(data[: len(data) // 3])
    with pytest.raises(StoreError, match="sha256"):
        use(root)
    (root / name).unlink()
    with pytest.raises(StoreError, match="must exist"):
        VoxelStore.open(root)


def test_a_run_is_a_file_of_the_store(root, tmp_path):
    shutil.move(root / "runs", tmp_path / "elsewhere")
    (root / "runs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="stay inside"):
        use(root)


def test_a_run_is_digested_once(root, monkeypatch):
    for path in (root / "runs").glob("*.npy"):
        os.utime(path, ns=(0, 0))
    # a change within the last seconds is not remembered: let time pass
    now = _digests.time.time_ns()
    monkeypatch.setattr(_digests.time, "time_ns", lambda: now + 10**10)
    read = []
    real = _digests.sha256
    monkeypatch.setattr(_digests, "sha256", lambda path: read.append(Path(path).name) or real(path))
    use(root)
    assert sorted(read) == [f"sub-01_run-0{r}.npy" for r in (1, 2, 3)]
    use(root)
    # another process knows it from the cache folder
    monkeypatch.setattr(_digests, "_known", {})
    monkeypatch.setattr(_digests, "_recalled", set())
    use(root)
    assert len(read) == 3
    # the same size and time of modification are not enough
    flip(root / "runs" / f"{RUN}.npy", 4000)
    with pytest.raises(StoreError, match="sha256"):
        use(root)
    assert len(read) == 4


def test_verifying_reads_what_is_remembered(root, monkeypatch):
    """A disk that changes bytes by itself changes no stamp."""
    monkeypatch.setattr(_digests, "remembered_sha256", lambda path: pytest.fail("remembered"))
    flip(root / "runs" / f"{RUN}.npy", 4000)
    with pytest.raises(StoreError, match=f"{RUN}.npy must match"):
        VoxelStore.open(root, verify=True)


def test_an_unusable_cache_costs_time_only(root, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FASTBRAIN_CACHE", str(tmp_path / "file"))
    now = _digests.time.time_ns()
    monkeypatch.setattr(_digests.time, "time_ns", lambda: now + 10**10)
    use(root)


def test_commands_refuse_a_damaged_store(root, tmp_path, capsys):
    flip(root / "runs" / f"{RUN}.npy", 4000)
    for command in (["audit"], ["audit", "--verify"], ["train", str(tmp_path / "run")]):
        assert main([command[0], str(root), *command[1:]]) == 1
        assert f"{RUN}.npy must match its sha256" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_folder_is_no_store(tmp_path):
    _io.write_json(
        tmp_path / "manifest.json", {"store_fingerprint": "0" * 16, "store": "/data/store"}
    )
    with pytest.raises(StoreError, match=r"got a run folder. Name the store .* /data/store"):
        VoxelStore.open(tmp_path)
