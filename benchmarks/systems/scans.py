"""Scans for the benchmarks of reading: an ellipsoid brain in air, as compressible as a real run."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (72, 100, 100)  # (Z, Y, X) of the Human Action Dataset, 2 mm
VOLUMES = 156
TR_S = 2.0
BRAIN = 0.27  # share of the box that is brain, as in the MNI template at 2 mm
_LEVEL = 1000  # intensity inside the brain
_NOISE, _AIR = 30.0, 10.0  # standard deviations: a .nii.gz then takes 0.6 of its voxels


def brain_mask(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """An ellipsoid that fills the share BRAIN of the box, (Z, Y, X) bool."""
    axes = np.ogrid[tuple(slice(-1, 1, complex(0, n)) for n in shape)]
    distance = sum(axis**2 for axis in axes)
    return np.asarray(distance <= np.quantile(distance, BRAIN))


def write_scan(
    path: Path,
    *,
    volumes: int = VOLUMES,
    shape: tuple[int, int, int] = SHAPE,
    seed: int = 0,
) -> Path:
    """Write a run of int16 volumes, a ``.nii`` or ``.nii.gz``, volume by volume."""
    rng = np.random.default_rng(seed)
    mask = brain_mask(shape)
    base = np.where(mask, _LEVEL + 200 * rng.standard_normal(shape), 20).astype(np.float32)
    spread = np.where(mask, _NOISE, _AIR).astype(np.float32)
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((*shape[::-1], volumes))
    header.set_zooms((2.0, 2.0, 2.0, TR_S))
    header.set_xyzt_units("mm", "sec")
    header.set_sform(np.diag([2.0, 2.0, 2.0, 1.0]), 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    opened = gzip.open(path, "wb", compresslevel=6) if path.suffix == ".gz" else path.open("wb")
    with opened as file:
        file.write(header.binaryblock + b"\0" * 4)
        for _ in range(volumes):
            noise = rng.standard_normal(shape, dtype=np.float32)
            file.write(np.rint(base + spread * noise).astype("<i2").tobytes())
    return path


def write_mask(path: Path, shape: tuple[int, int, int] = SHAPE) -> Path:
    """Write the brain mask of :func:`write_scan`."""
    image = nib.Nifti1Image(brain_mask(shape).T.astype(np.uint8), np.diag([2.0, 2.0, 2.0, 1.0]))
    nib.save(image, path)
    return path


def write_cohort(
    folder: Path,
    *,
    runs: int,
    suffix: str = ".nii.gz",
    volumes: int = VOLUMES,
    shape: tuple[int, int, int] = SHAPE,
) -> Path:
    """Write runs of one subject with a trial every 20 s; returns the table of runs."""
    write_mask(folder / "mask.nii.gz", shape)
    rows = ["subject\trun\tbold\tevents\tmask"]
    for run in range(1, runs + 1):
        write_scan(folder / f"{run}{suffix}", volumes=volumes, shape=shape, seed=run)
        onsets = range(0, int((volumes - 12) * TR_S), 20)
        lines = ["onset\tduration\ttrial_type\tstimulus\ttext"]
        lines += [f"{t}\t2\tclip\t{run}-{t}\tclip {run} {t}" for t in onsets]
        (folder / f"{run}.tsv").write_text("\n".join(lines) + "\n")
        rows.append(f"01\t{run}\t{run}{suffix}\t{run}.tsv\tmask.nii.gz")
    (folder / "runs.tsv").write_text("\n".join(rows) + "\n")
    return folder / "runs.tsv"
