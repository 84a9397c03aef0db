"""Intensities of the brain voxels of a run, read from its image, against nibabel and a mask."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...data.readers.scaling import scale_values
from ...data.readers.volumes import load_volumes
from .. import work
from ..registry import Entry, Problem, Setting

Answer = tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.int64]]


def problem(shape: tuple[int, int, int], volumes: int) -> Problem:
    """An int16 image of an ellipsoid, uncompressed, and its mask, in a folder of their own.

    Packages order voxels differently, so an answer says which voxel each column is: values (T, V)
    and flat indices (V,) into (Z, Y, X).
    """
    # the other cases run without it
    import nibabel as nib

    folder = tempfile.TemporaryDirectory(prefix="fastbrain-bench-")
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4000, (volumes, *shape)).astype(np.int16)
    middle = (np.array(shape) - 1) / 2
    at = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    mask = (((at - middle) / (0.85 * middle)) ** 2).sum(axis=-1) < 1
    voxels, affine = np.flatnonzero(mask), np.diag([3.0, 3.0, 3.0, 1.0])
    bold, brain = Path(folder.name) / "bold.nii", Path(folder.name) / "mask.nii"
    image = nib.Nifti1Image(values.T, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 2.0
    nib.save(image, bold)
    nib.save(nib.Nifti1Image(mask.T.astype(np.uint8), affine), brain)
    truth = values.reshape(volumes, -1)[:, voxels]

    def ours() -> Answer:
        found = load_volumes(bold)
        read = found.series(voxels)
        return scale_values(read, found.slope, found.inter, np.float32), voxels

    def plain() -> Answer:
        image: Any = nib.load(bold)
        whole = np.asarray(image.dataobj, dtype=np.float32)
        return whole.T[:, mask], voxels

    def error(name: str, got: Answer) -> float:
        columns, place = got
        order = np.argsort(place)
        same = np.array_equal(place[order], voxels) and np.array_equal(columns[:, order], truth)
        return float(not same)

    need = work.read_run(len(voxels), volumes)
    return Problem(
        providers={"fastbrain": ours, "nibabel": plain},
        error=error,
        limit=0.0,
        flops=need.flops,
        traffic=need.traffic,
        # the folder is removed with the inputs
        inputs={"bold": bold, "mask": brain, "shape": shape, "folder": folder},
        facts={"voxels": len(voxels), "volumes": volumes},
    )


def _entry(shape: tuple[int, int, int], volumes: int, *, rounds: int) -> Entry:
    def build(setting: Setting) -> Problem:
        return problem(shape, volumes)

    case = f"{'x'.join(map(str, shape))}-t{volumes}"
    return Entry("read_run", case, build, rounds, on_host=True, precision="int16")


PROVIDERS = ("fastbrain", "nibabel")

ENTRIES = [_entry((48, 56, 48), 120, rounds=9)]
