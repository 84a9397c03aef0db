"""Who reads windows of brain voxels, each by its usual way: calls that return one window.

A provider is a function of the folder of the benchmark that returns a call; the call takes run
(counted from 1) and first volume, and returns the brain voxels of WINDOW volumes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

WINDOW = 10
Call = Callable[[int, int], Any]


def fastbrain_store(folder: Path) -> Call:
    """A slice of the memory map of the store, copied as the loader does."""
    from fastbrain.data import VoxelStore

    store = VoxelStore.open(folder / "store")
    runs = {int(run_id.split("-")[-1]): run_id for run_id in store.info.runs}
    maps = {number: store.volumes(run_id) for number, run_id in runs.items()}
    return lambda run, start: np.array(maps[run][start : start + WINDOW])


def fastbrain_int8(folder: Path) -> Call:
    """The same of an int8 store, as int16."""
    from fastbrain.data import VoxelStore

    store = VoxelStore.open(folder / "store8")
    runs = {int(run_id.split("-")[-1]): run_id for run_id in store.info.runs}
    maps = {number: store.volumes(run_id) for number, run_id in runs.items()}
    return lambda run, start: maps[run][start : start + WINDOW]


def _nibabel(folder: Path, suffix: str) -> Call:
    import nibabel as nib

    mask = np.asanyarray(nib.load(folder / "mask.nii.gz").dataobj) > 0

    def read(run: int, start: int) -> np.ndarray:
        image = nib.load(folder / f"{run}{suffix}")
        return np.asanyarray(image.dataobj[..., start : start + WINDOW])[mask]

    return read


def nibabel_gz(folder: Path) -> Call:
    """Slices of ``.nii.gz`` through nibabel, masked."""
    return _nibabel(folder, ".nii.gz")


def nibabel_nii(folder: Path) -> Call:
    """Slices of uncompressed ``.nii`` through nibabel, masked."""
    return _nibabel(folder, ".nii")


def nilearn_masker(folder: Path) -> Call:
    """NiftiMasker on the volumes of the window, from ``.nii.gz``."""
    from nilearn.image import index_img
    from nilearn.maskers import NiftiMasker

    masker = NiftiMasker(str(folder / "mask.nii.gz"), standardize=None).fit()

    def read(run: int, start: int) -> np.ndarray:
        window = index_img(str(folder / f"{run}.nii.gz"), slice(start, start + WINDOW))
        return np.asarray(masker.transform(window))

    return read


def webdataset(folder: Path) -> Call:
    """The next window of the exported tar files; WebDataset reads them in sequence."""
    import webdataset as wds

    urls = sorted(map(str, (folder / "tars").glob("*.tar")))
    rows = iter(wds.WebDataset(urls, shardshuffle=False).decode().repeat())
    return lambda run, start: next(rows)["voxels.npy"]


def litdata(folder: Path) -> Call:
    """A window of a LitData dataset of the same samples, by its index."""
    from litdata import StreamingDataset

    rows = StreamingDataset(str(folder / "litdata"))
    return lambda run, start: rows[(run * 997 + start) % len(rows)]["voxels"]


def write_litdata(folder: Path) -> None:
    """Write the windows of the store for LitData."""
    from litdata import optimize

    from fastbrain.data import VoxelStore

    store = VoxelStore.open(folder / "store")
    optimize(
        fn=_LitSample(store),
        inputs=[trial.trial_id for trial in store.trials],
        output_dir=str(folder / "litdata"),
        num_workers=1,
        chunk_bytes="256MB",
    )


class _LitSample:
    """One sample of LitData."""

    def __init__(self, store: Any) -> None:
        self.store = store

    def __call__(self, trial_id: str) -> dict[str, Any]:
        return {"voxels": np.array(self.store.window(trial_id)), "trial": trial_id}


# by name: the provider and the number of windows that one process reads
PROVIDERS: dict[str, tuple[Callable[[Path], Call], int]] = {
    "fastbrain": (fastbrain_store, 300),
    "fastbrain int8": (fastbrain_int8, 300),
    "nibabel .nii": (nibabel_nii, 60),
    "nibabel .nii.gz": (nibabel_gz, 6),
    "nilearn masker .nii.gz": (nilearn_masker, 6),
    "webdataset": (webdataset, 100),
    "litdata": (litdata, 100),
}
