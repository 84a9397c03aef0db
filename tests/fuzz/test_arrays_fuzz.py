"""Damaged arrays and columns, given to their readers: a typed error or values, nothing else."""

from __future__ import annotations

import io
import warnings
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from fastbrain._arrays import read_npy, read_npz
from fastbrain.data.readers.events import Trial
from fastbrain.data.store.trials_table import read_trials_table, write_trials_table
from fastbrain.errors import StoreError


@pytest.fixture
def try_all(budget, mutate):
    """Number of damaged files that `read` accepts."""

    def count(path: Path, data: bytes, read, what: str, tests: int = 1) -> int:
        rng = np.random.default_rng([len(what), 23])
        accepted = 0
        for case in range(budget.inputs(what, tests=tests)):
            cut = case % 10 == 0
            path.write_bytes(data[: rng.integers(len(data))] if cut else mutate(data, rng))
            with budget.one(), warnings.catch_warnings():
                # numpy's parser of headers warns of what it reads
                warnings.simplefilter("ignore")
                error = None
                try:
                    read(path)
                    accepted += 1
                except StoreError as refused:
                    error = refused
            assert error is None or path.name in str(error)
        return accepted

    return count


def test_npy(tmp_path, try_all, budget):
    data = io.BytesIO()
    np.save(data, np.arange(60, dtype=np.float32).reshape(3, 4, 5))

    def read(path: Path) -> None:
        whole = read_npy(path, where="f", error=StoreError)
        mapped = read_npy(path, where="f", error=StoreError, mmap=True)
        assert whole.shape == mapped.shape
        assert whole.nbytes <= path.stat().st_size
        np.testing.assert_array_equal(whole, mapped)

    accepted = try_all(tmp_path / "a.npy", data.getvalue(), read, "array: npy")
    assert 0 < accepted < budget.inputs("array: npy")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, try_all, budget, save):
    data = io.BytesIO()
    save(data, one=np.arange(60.0), two=np.ones((3, 4), bool))

    def read(path: Path) -> None:
        arrays = read_npz(path, ["one", "two"], where="f", error=StoreError)
        assert list(arrays) == ["one", "two"]

    accepted = try_all(tmp_path / "a.npz", data.getvalue(), read, "array: npz", 2)
    assert accepted < budget.inputs("array: npz", tests=2)


def test_parquet(tmp_path, try_all, budget):
    kinds = {"str": "x", "float": 1.5, "int": 1}
    trials = [
        Trial(**{f.name: kinds[str(f.type)] for f in fields(Trial)} | {"trial_id": str(i)})
        for i in range(20)
    ]
    path = tmp_path / "a.parquet"
    write_trials_table(path, trials)

    def read(path: Path) -> None:
        assert all(isinstance(trial, Trial) for trial in read_trials_table(path))

    accepted = try_all(path, path.read_bytes(), read, "array: parquet")
    assert accepted < budget.inputs("array: parquet")
