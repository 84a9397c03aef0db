"""Verification names every damaged file, and the page of facts is that of the store."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_store import small_store, small_table

from fastbrain.cli import main
from fastbrain.data import VoxelStore, store_facts, verify_store
from fastbrain.errors import StoreError


@pytest.fixture
def root(tmp_path) -> Path:
    return small_store(tmp_path, dtype="int8").path


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_an_intact_store(root, capsys):
    assert verify_store(root) == ()
    assert main(["store", "verify", str(root)]) == 0
    assert "is intact" in capsys.readouterr().err
    assert main(["store", "verify", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_every_file_is_looked_at_and_all_damage_is_named(root, capsys):
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    names = [str(p.relative_to(root)) for p in before if p.name != "manifest.json"]
    assert len(names) > 12
    rng = np.random.default_rng(0)
    for name in names:
        flip(root / name, int(rng.integers(8 * len(before[root / name]))))
    damaged = verify_store(root)
    # the digest of an image is in its record, and the table of quality needs an intact store
    behind = {n for n in names if "mean_images" in n or n == "quality.tsv"}
    assert {damage.file for damage in damaged} >= set(names) - behind
    assert main(["store", "verify", str(root)]) == 1
    told = capsys.readouterr()
    assert "runs/sub-01_run-1.npy: does not match its sha256" in told.out
    assert f"{len(damaged)} damaged" in told.err
    # nothing was mended, and each file alone is found too
    for path, data in before.items():
        assert path.name == "manifest.json" or path.read_bytes() != data
        path.write_bytes(data)
    for name in names:
        flip(root / name, int(rng.integers(8 * len(before[root / name]))))
        assert [damage.file for damage in verify_store(root)] == [name]
        (root / name).write_bytes(before[root / name])
    assert verify_store(root) == ()


def test_missing_files_and_a_damaged_manifest(root):
    (root / "runs" / "sub-01_run-2.npy").unlink()
    (root / "mean.npy").unlink()
    assert {(d.file, d.reason) for d in verify_store(root)} == {
        ("runs/sub-01_run-2.npy", "is missing"),
        ("mean.npy", "is missing"),
    }
    flip(root / "manifest.json", 800)
    (damage,) = verify_store(root)
    assert damage.file == "manifest.json"
    (root / "manifest.json").unlink()
    with pytest.raises(StoreError, match="unfinished store"):
        verify_store(root)


def test_a_sealed_split_that_leaks_is_damage_of_the_whole(root, reseal):
    split = json.loads((root / "split.json").read_text())
    split["test"] = split["train"]
    (root / "split.json").write_text(json.dumps(split))
    reseal(root)
    (damage,) = verify_store(root)
    assert damage.file == ""
    assert "must be in one part only" in damage.reason


def test_facts(root, capsys):
    store = VoxelStore.open(root)
    facts = store_facts(store)
    assert facts["recordings"] == {
        **{"runs": 3, "subjects": 1, "sessions": 1, "volumes": 120, "tr_s": 2.0},
        "hours": round(240 / 3600, 3),
    }
    assert facts["voxels"]["dtype"] == "int8"
    size = sum(p.stat().st_size for p in (root / "runs").glob("*.npy"))
    # each file has a header of 128 bytes
    assert facts["store"]["bytes"] == size - 3 * 128
    assert facts["quality"]["least_snr_db"] > 30
    assert main(["store", "info", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == facts
    assert main(["store", str(root)]) == 0
    shown = capsys.readouterr().out
    assert all(title in shown for title in facts)


def test_the_commands_that_make_stores(tmp_path, capsys):
    one = small_store(tmp_path, name="one").path
    append = ["store", "append", str(one)]
    longer = str(tmp_path / "longer")
    how = ["--into", "test", "--statistics", "keep"]
    # runs of the same names are in training
    assert main([*append, str(small_table(tmp_path, subject="02")), longer, *how]) == 1
    assert "run must be in one part only" in capsys.readouterr().err
    table = str(small_table(tmp_path, subject="03", first=4))
    for option in (["--task", "clips"], ["--derivatives", "fmriprep"], ["--desc", "preproc"]):
        assert main([*append, table, longer, *how, *option]) == 1
        assert f"{option[0]} must be left out for a runs table" in capsys.readouterr().err
    assert main([*append, table, longer, *how]) == 0
    assert "audit" in capsys.readouterr().out
    assert len(VoxelStore.open(longer, verify=True).info.runs) == 6
    two = small_store(tmp_path, name="two", subject="02").path
    merge = ["store", "merge", str(one), str(two), str(tmp_path / "both"), "--statistics"]
    assert main([*merge[:3], *merge[4:], "first"]) == 1
    assert "two or more folders" in capsys.readouterr().err
    assert main([*merge, "refit"]) == 0
    assert len(VoxelStore.open(tmp_path / "both", verify=True).fit_runs) == 2
