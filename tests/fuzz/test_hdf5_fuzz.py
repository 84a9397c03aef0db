"""Damaged HDF5 files, given to the readers of parcels and betas: a typed error or values."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fastbrain.data import RunRecord, load_betas, open_recording
from fastbrain.data.readers.hdf5 import dataset_names
from fastbrain.errors import VolumeError

h5py = pytest.importorskip("h5py", reason="h5py (extra hdf5) is not installed")

SHAPE = (6, 4, 3, 2)  # (T, Z, Y, X)


def parcels(path: Path) -> np.ndarray:
    dataset_names(path)
    facts = {"subject": "1", "session": "", "run": "1", "events": None, "tr": 1.5}
    run = RunRecord("sub-1", bold=path, dataset="a", parcels=path.parent / "names.tsv", **facts)
    return open_recording(run).raw()


def betas(path: Path) -> np.ndarray:
    return load_betas(path, grid_of=path.parent / "mask.nii", dataset="b").raw()


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("read", [parcels, betas])
def test_hdf5(tmp_path, budget, mutate, read, compression):
    rng = np.random.default_rng([23, compression is None])
    (tmp_path / "names.tsv").write_text("index\tname\n1\tA\n2\tB\n3\tC\n")
    nib.save(nib.Nifti1Image(np.ones(SHAPE[:0:-1], np.uint8), np.eye(4)), tmp_path / "mask.nii")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name, shape in (("a", (7, 3)), ("b", SHAPE)):
            values = rng.normal(size=shape).astype(np.float32)
            file.create_dataset(name, data=values, compression=compression)
    data = path.read_bytes()
    expected = read(path).shape
    accepted, tried = 0, budget.inputs("array: hdf5", tests=4)
    for case in range(tried):
        if case % 3 == 0:
            # the structure moves nowhere, so that it is read further
            changed = bytearray(data)
            changed[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        else:
            changed = data[: rng.integers(len(data))] if case % 3 == 1 else mutate(data, rng)
        path.write_bytes(changed)
        with budget.one():
            error = None
            try:
                accepted += read(path).shape[1:] == expected[1:]
            except VolumeError as refused:
                error = refused
        assert error is None or path.name in str(error)
    assert accepted < tried
