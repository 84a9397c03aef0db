"""Damaged tables, sidecars and manifests: a typed error or a valid object, nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fastbrain.data import (
    RunRecord,
    Split,
    StoreCollection,
    VoxelStore,
    WindowSpec,
    plan_native_grids,
    prepare_store,
    read_beta_trials,
    read_runs_table,
    read_trials,
    runs_from_bids,
    split_by,
    write_collection,
)
from fastbrain.errors import FastbrainError

Mutate = Callable[[bytes, np.random.Generator], bytes]
WINDOW = WindowSpec(4.0, 2)
VALUES = [None, True, -1, 1e308, "", "\0", "../..", [], {}, [None], {"a": {}}]


def mutate_json(text: str, rng: np.random.Generator, mutate: Mutate) -> bytes:
    """Replace, remove or add one value anywhere, or damage the text itself."""
    if rng.random() < 0.3:
        return mutate(text.encode(), rng)
    root = json.loads(text)
    node = root
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return json.dumps(root).encode()
        key = keys[rng.integers(len(keys))]
        if isinstance(node[key], dict | list) and rng.random() < 0.6:
            node = node[key]
            continue
        if isinstance(node, dict) and rng.random() < 0.3:
            del node[key]
        else:
            node[key] = VALUES[rng.integers(len(VALUES))]
        return json.dumps(root).encode()


def survives(call: Callable[[], object]) -> bool:
    """Whether `call` went through; any error that is not ours propagates."""
    try:
        call()
    except FastbrainError:
        return False
    return True


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    rng = np.random.default_rng(0)
    rows = ["subject\trun\tbold\tevents\ttr"]
    for r in (1, 2, 3):
        stem = f"sub-1/func/sub-1_task-x_run-{r}"
        (folder / "sub-1/func").mkdir(parents=True, exist_ok=True)
        data = rng.normal(900, 9, (3, 3, 3, 30)).astype(np.int16)
        image = nib.Nifti1Image(data, np.eye(4))
        image.header["pixdim"][4] = 2
        nib.save(image, folder / f"{stem}_bold.nii")
        lines = ["onset\tduration\ttrial_type\tstim_file\tstimulus\ttext"]
        lines += [f"{8.0 * k}\t2.0\tx\ta{k}.mp4\ts{k}\ta dog" for k in range(5)]
        (folder / f"{stem}_events.tsv").write_text("\n".join(lines) + "\n")
        (folder / f"{stem}_bold.json").write_text(json.dumps({"RepetitionTime": 2.0}))
        rows.append(f"1\t{r}\t{stem}_bold.nii\t{stem}_events.tsv\t2.0")
    (folder / "runs.tsv").write_text("\n".join(rows) + "\n")
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.eye(4)), folder / "mask.nii")
    prepare_store(
        read_runs_table(folder / "runs.tsv"),
        folder / "store",
        window=WINDOW,
        kernel=(3, 3, 3),
        split=lambda t: split_by(t, "run", train=["1"], val=["2"], test=["3"]),
        mask=np.ones((3, 3, 3), bool),
    )
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.fixture
def damaged(budget) -> Callable[..., int]:
    """Puts damaged bytes in the place of a file; how many of them `call` lets through."""

    def count(
        path: Path, change: Callable[[], bytes], call: Callable[[], object], inputs: int
    ) -> int:
        original = path.read_bytes()
        passed = 0
        try:
            for _ in range(inputs):
                path.write_bytes(change())
                with budget.one():
                    passed += survives(call)
            return passed
        finally:
            path.write_bytes(original)

    return count


def test_runs_table(root, rng, damaged, mutate, budget):
    path = root / "runs.tsv"
    data, inputs = path.read_bytes(), budget.inputs("runs table")
    passed = damaged(path, lambda: mutate(data, rng), lambda: read_runs_table(path), inputs)
    assert passed < inputs


def test_events(root, rng, damaged, mutate, budget):
    run = read_runs_table(root / "runs.tsv")[0]
    data, inputs = run.events.read_bytes(), budget.inputs("events")
    passed = damaged(
        run.events,
        lambda: mutate(data, rng),
        lambda: read_trials(run, WINDOW, tr=2.0, n_volumes=30),
        inputs,
    )
    assert 0 < passed < inputs


def test_sidecar(root, rng, damaged, mutate, budget):
    path = root / "sub-1/func/sub-1_task-x_run-1_bold.json"
    text, inputs = path.read_text(), budget.inputs("sidecar")
    passed = damaged(
        path, lambda: mutate_json(text, rng, mutate), lambda: runs_from_bids(root), inputs
    )
    assert passed < inputs


def test_participants(root, rng, damaged, mutate, budget):
    path = root / "participants.tsv"
    data = b"participant_id\tage\tfamily_id\tsite\nsub-1\t30\tf1\tParis\nsub-2\t31\tf1\tn/a\n"
    path.write_bytes(data)
    inputs = budget.inputs("participants")
    try:
        passed = damaged(path, lambda: mutate(data, rng), lambda: runs_from_bids(root), inputs)
    finally:
        path.unlink()
    assert 0 < passed < inputs


@pytest.mark.parametrize("name", ["manifest.json", "split.json"])
def test_store_json(root, rng, name, damaged, mutate, budget):
    path = root / "store" / name
    text, inputs = path.read_text(), budget.inputs("store: json", tests=2)

    def use() -> None:
        store = VoxelStore.open(root / "store")
        store.window(store.split.train[0])
        assert isinstance(store.fingerprint(), str)
        assert store.window_spec.window_trs >= 1
        assert store.fit_runs is not None

    assert damaged(path, lambda: mutate_json(text, rng, mutate), use, inputs) < inputs


@pytest.mark.parametrize("name", ["trials.parquet", "grid.npz", "mean.npy", "runs/sub-1_run-1.npy"])
def test_store_arrays(root, rng, name, damaged, mutate, budget):
    path = root / "store" / name
    data, inputs = path.read_bytes(), budget.inputs("store: arrays", tests=8)

    def use() -> None:
        store = VoxelStore.open(root / "store")
        store.window(store.split.train[0]).sum()

    assert damaged(path, lambda: mutate(data, rng), use, inputs) < inputs
    assert damaged(path, lambda: data[: rng.integers(len(data))], use, inputs) == 0


def test_beta_table(tmp_path, rng, damaged, mutate, budget):
    path = tmp_path / "betas.tsv"
    lines = [f"{i + 1}\tpicture {i}\ts{i}" for i in range(6)]
    path.write_text("\n".join(["beta\ttext\tstimulus", *lines]) + "\n")
    run = RunRecord("b", "1", "", "1", tmp_path / "betas.nii", path)
    data, inputs = path.read_bytes(), budget.inputs("beta table")
    passed = damaged(path, lambda: mutate(data, rng), lambda: read_beta_trials(run, 6), inputs)
    assert 0 < passed < inputs


@pytest.mark.parametrize("name", ["collection.json", "split.json"])
def test_collection_json(root, rng, name, damaged, mutate, budget):
    folder = root / "collection"
    if not folder.exists():
        plan = plan_native_grids(
            read_runs_table(root / "runs.tsv"),
            window=WINDOW,
            kernel=(3, 3, 3),
            split=lambda t: split_by(t, "run", train=["1"], val=["2"], test=["3"]),
            mask={"1": root / "mask.nii"},
        )
        write_collection(plan, folder)
    path = folder / name
    text, inputs = path.read_text(), budget.inputs("collection", tests=2)

    def use() -> None:
        store = StoreCollection.open(folder)
        store.window(store.split.train[0])

    # a few mutations give the same bytes again
    assert damaged(path, lambda: mutate_json(text, rng, mutate), use, inputs) < inputs // 10


def test_split_json(rng, mutate, budget):
    text = json.dumps(Split(("a",), ("b",), ("c",), 3, ("run",)).to_json())
    for _ in range(budget.inputs("split")):
        try:
            value = json.loads(mutate_json(text, rng, mutate).decode())
        except ValueError:
            continue
        with budget.one():
            survives(lambda value=value: Split.from_json(value))
