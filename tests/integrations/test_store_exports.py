"""Exported windows are those of the store, read again by the format's own rules or reader."""

from __future__ import annotations

import json
import struct
import tarfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_store import small_store

from fastbrain.cli import main
from fastbrain.data import VoxelStore
from fastbrain.errors import InputError, MissingPartError, OutputExistsError, StoreError
from fastbrain.integrations.store_exports import export_store


@pytest.fixture
def store(tmp_path) -> VoxelStore:
    return small_store(tmp_path)


def check(store: VoxelStore, part: str, found: list[tuple[np.ndarray, str, dict[str, Any]]]):
    """Voxels, text and facts of all samples of a part, in the order of the split."""
    assert [facts["trial_id"] for _, _, facts in found] == list(store.split.part(part))
    for voxels, text, facts in found:
        trial = store.by_id[facts["trial_id"]]
        assert voxels.dtype == np.int16
        np.testing.assert_array_equal(voxels, store.window(trial.trial_id))
        assert text == trial.text
        assert (facts["part"], facts["run_id"], facts["start"], facts["subject"]) == (
            *(part, trial.run_id, trial.start, trial.subject),
        )


def from_tar(root: Path, part: str) -> list[tuple[np.ndarray, str, dict[str, Any]]]:
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(root.glob(f"{part}-*.tar")):
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                key, suffix = member.name.split(".", 1)
                found.setdefault(key, {})[suffix] = tar.extractfile(member).read()
    (root / "one.npy").touch()
    samples = []
    for files in found.values():
        (root / "one.npy").write_bytes(files["voxels.npy"])
        facts = json.loads(files["json"])
        samples.append((np.load(root / "one.npy"), files["txt"].decode(), facts))
    return samples


def from_mds(root: Path, part: str) -> list[tuple[np.ndarray, str, dict[str, Any]]]:
    """Read shards as the format is defined: lengths of varying columns, then the columns."""
    index = json.loads((root / part / "index.json").read_text())
    samples = []
    for shard in index["shards"]:
        data = (root / part / shard["raw_data"]["basename"]).read_bytes()
        assert len(data) == shard["raw_data"]["bytes"]
        (n,) = struct.unpack_from("<I", data)
        assert n == shard["samples"]
        offsets = struct.unpack_from(f"<{n + 1}I", data, 4)
        shape = tuple(map(int, shard["column_encodings"][2].split(":")[2].split(",")))
        for start, stop in pairwise(offsets):
            facts, text = struct.unpack_from("<2I", data, start)
            at = start + 8
            voxels = np.frombuffer(data[at + facts + text : stop], "<i2").reshape(shape)
            samples.append(
                (
                    voxels,
                    data[at + facts : at + facts + text].decode(),
                    json.loads(data[at : at + facts]),
                )
            )
    return samples


def from_hf(root: Path, part: str) -> list[tuple[np.ndarray, str, dict[str, Any]]]:
    datasets = pytest.importorskip("datasets")
    rows = datasets.load_from_disk(str(root))[part]
    assert rows.features["voxels"].dtype == "int16"
    return [(np.asarray(row.pop("voxels"), dtype=np.int16), row.pop("text"), row) for row in rows]


@pytest.mark.parametrize(
    ("kind", "read"), [("webdataset", from_tar), ("mds", from_mds), ("hf", from_hf)]
)
def test_exports_are_read_again(store, tmp_path, kind, read):
    if kind == "hf":
        pytest.importorskip("datasets")
    out = tmp_path / kind
    counts = export_store(store, out, kind)
    assert counts == {part: len(store.split.part(part)) for part in ("train", "val", "test")}
    for part in counts:
        check(store, part, read(out, part))
    facts = json.loads((out / "store.json").read_text())
    assert (facts["scale"], facts["fingerprint"]) == (store.scale, store.fingerprint())
    np.testing.assert_array_equal(np.load(out / "inv_std.npy"), store.inv_std)


@pytest.mark.parametrize(("kind", "read"), [("webdataset", from_tar), ("mds", from_mds)])
def test_shards_end_at_their_size_and_are_the_same_again(tmp_path, kind, read):
    # 3 volumes of 13,824 voxels: a dozen windows fill a megabyte
    store = small_store(tmp_path, shape=(24, 24, 24), kernel=(4, 4, 4), runs=5)
    export_store(store, tmp_path / "a", kind, shard_bytes=10**6)
    export_store(store, tmp_path / "b", kind, shard_bytes=10**6)
    files = {p.relative_to(tmp_path / "a"): p for p in (tmp_path / "a").rglob("*") if p.is_file()}
    shards = [name for name in files if name.suffix in (".tar", ".mds") and "train" in str(name)]
    assert len(shards) > 1
    for name, path in files.items():
        assert path.read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    check(store, "train", read(tmp_path / "a", "train"))


def test_webdataset_reads_the_tars(store, tmp_path):
    wds = pytest.importorskip("webdataset")
    export_store(store, tmp_path / "out", "webdataset")
    url = str(tmp_path / "out" / "train-000000.tar")
    rows = list(wds.WebDataset(url, shardshuffle=False).decode())
    found = [(row["voxels.npy"], row["txt"], row["json"]) for row in rows]
    check(store, "train", found)


def test_what_is_refused(store, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"kind"):
        export_store(store, tmp_path / "out", "zarr")
    with pytest.raises(InputError, match="at least 1000000"):
        export_store(store, tmp_path / "out", "mds", shard_bytes=5)
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputExistsError):
        export_store(store, tmp_path / "out", "mds")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(MissingPartError, match=r"fastbrain-fmri\[hf\]"):
        export_store(store, tmp_path / "new", "hf")
    run = next((store.path / "runs").glob("*.npy"))
    run.write_bytes(run.read_bytes()[:-1] + b"\7")
    with pytest.raises(StoreError, match=run.name):
        export_store(VoxelStore.open(store.path), tmp_path / "new", "webdataset")
    assert not (tmp_path / "new").exists()


def test_the_command_writes_one_format(store, tmp_path, capsys):
    command = ["store", "export", str(store.path)]
    assert main(command) == 1
    assert "one of --webdataset, --hf and --mds must be given, got 0" in capsys.readouterr().err
    assert main([*command, "--webdataset", str(tmp_path / "w"), "--mds", str(tmp_path / "m")]) == 1
    assert main([*command, "--webdataset", str(tmp_path / "w")]) == 0
    assert "train" in capsys.readouterr().out
    check(store, "test", from_tar(tmp_path / "w", "test"))
