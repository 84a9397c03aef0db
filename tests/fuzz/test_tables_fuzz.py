"""Damaged tables, sidecars and manifests: a typed error or a valid object, nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fastbrain.data import (
    Split,
    VoxelStore,
    WindowSpec,
    prepare_store,
    read_runs_table,
    read_trials,
    runs_from_bids,
    split_by,
)
from fastbrain.errors import FastbrainError

CASES = 400
WINDOW = WindowSpec(4.0, 2)
TOKENS = [
    b"",
    b"n/a",
    b"nan",
    b"-1e308",
    b"../../x",
    b"\0",
    b"\xff",
    b"\t\t",
    b"\n",
    b'"',
    b"9" * 400,
]
VALUES = [None, True, -1, 1e308, "", "\0", "../..", [], {}, [None], {"a": {}}]


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(max(1, len(changed))))
        match rng.integers(4):
            case 0:
                changed[at : at + 1] = bytes([int(rng.integers(256))])
            case 1:
                del changed[at : at + int(rng.integers(1, 30))]
            case 2:
                changed[at:at] = TOKENS[rng.integers(len(TOKENS))]
            case _:
                end = at + int(rng.integers(1, 12))
                changed[at:end] = TOKENS[rng.integers(len(TOKENS))]
    return bytes(changed)


def mutate_json(text: str, rng: np.random.Generator) -> bytes:
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


def damaged(path: Path, change: Callable[[], bytes], call: Callable[[], object]) -> int:
    original = path.read_bytes()
    try:
        count = 0
        for _ in range(CASES):
            path.write_bytes(change())
            count += survives(call)
        return count
    finally:
        path.write_bytes(original)


def test_runs_table(root, rng):
    path = root / "runs.tsv"
    data = path.read_bytes()
    count = damaged(path, lambda: mutate(data, rng), lambda: read_runs_table(path))
    assert count < CASES


def test_events(root, rng):
    run = read_runs_table(root / "runs.tsv")[0]
    data = run.events.read_bytes()
    count = damaged(
        run.events,
        lambda: mutate(data, rng),
        lambda: read_trials(run, WINDOW, tr=2.0, n_volumes=30),
    )
    assert 0 < count < CASES


def test_sidecar(root, rng):
    path = root / "sub-1/func/sub-1_task-x_run-1_bold.json"
    text = path.read_text()
    assert damaged(path, lambda: mutate_json(text, rng), lambda: runs_from_bids(root)) < CASES


def test_participants(root, rng):
    path = root / "participants.tsv"
    data = b"participant_id\tage\tfamily_id\tsite\nsub-1\t30\tf1\tParis\nsub-2\t31\tf1\tn/a\n"
    path.write_bytes(data)
    count = damaged(path, lambda: mutate(data, rng), lambda: runs_from_bids(root))
    path.unlink()
    assert 0 < count < CASES


@pytest.mark.parametrize("name", ["manifest.json", "split.json"])
def test_store_json(root, rng, name):
    path = root / "store" / name
    text = path.read_text()

    def use() -> None:
        store = VoxelStore.open(root / "store")
        store.window(store.split.train[0])
        assert isinstance(store.fingerprint(), str)
        assert store.window_spec.window_trs >= 1
        assert store.fit_runs is not None

    assert damaged(path, lambda: mutate_json(text, rng), use) < CASES


@pytest.mark.parametrize("name", ["trials.parquet", "grid.npz", "mean.npy", "runs/sub-1_run-1.npy"])
def test_store_arrays(root, rng, name):
    path = root / "store" / name
    data = path.read_bytes()

    def use() -> None:
        store = VoxelStore.open(root / "store")
        store.window(store.split.train[0]).sum()

    assert damaged(path, lambda: mutate(data, rng), use) < CASES
    assert damaged(path, lambda: data[: rng.integers(len(data))], use) == 0


def test_split_json(rng):
    text = json.dumps(Split(("a",), ("b",), ("c",), 3, ("run",)).to_json())

    def use() -> None:
        Split.from_json(json.loads(text_now))

    for _ in range(CASES):
        try:
            text_now = mutate_json(text, rng).decode()
            json.loads(text_now)
        except ValueError:
            continue
        survives(use)
