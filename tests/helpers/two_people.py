"""Runs of two people on voxel grids of their own: other sizes, directions, origins and brains."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from fastbrain.data import RunRecord

TR_S = 2.0
PEOPLE = {
    "01": ((10, 12, 9), np.diag([8.0, 8.0, 8.0]), (-38.0, -60.0, -22.0)),
    # x runs to the left, and a slice is tilted
    "02": (
        (11, 11, 8),
        np.diag([-8.0, 7.5, 8.5]) @ np.array([[1, 0, 0], [0, 0.995, -0.1], [0, 0.1, 0.995]]),
        (42.0, -57.0, -20.0),
    ),
}


def write_two_people(
    root: Path, *, runs: int = 3, volumes: int = 48, seed: int = 0
) -> list[RunRecord]:
    """Write runs with smooth activity that covers the brain, and one caption every 8 s."""
    rng = np.random.default_rng(0)
    found = []
    for person, (size, axes, origin) in PEOPLE.items():
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = axes, origin
        voxels = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1)
        world = voxels @ axes.T + origin  # (X, Y, Z, 3) mm
        brain = (((world - (0, -18, 10)) / (34, 40, 30)) ** 2).sum(-1) < 1
        folder = root / f"sub-{person}"
        folder.mkdir(parents=True)
        nib.save(nib.Nifti1Image(brain.astype(np.uint8), affine), folder / "mask.nii.gz")
        anatomy = 1000 + 100 * np.sin(world / 15).sum(-1)  # the same in all runs
        waves = np.stack([np.sin(world @ w / 25) for w in np.eye(3)], -1)  # maps of three courses
        for run in range(1, runs + 1):
            courses = rng.standard_normal((3, volumes))
            noise = rng.standard_normal((*size, volumes))
            values = anatomy[..., None] + 20 * waves @ courses + 5 * noise
            values[~brain] = 0
            image = nib.Nifti1Image(values.astype(np.float32), affine)
            image.header.set_xyzt_units("mm", "sec")
            image.header["pixdim"][4] = TR_S
            bold = folder / f"run-{run}_bold.nii"
            nib.save(image, bold)
            events = folder / f"run-{run}_events.tsv"
            rows = [
                f"{8 * k}\t2\tperson {person} sees {run} of {k}" for k in range(volumes // 4 - 2)
            ]
            events.write_text("\n".join(["onset\tduration\ttext", *rows]) + "\n")
            name = f"sub-{person}_run-{run:02d}"
            mask = folder / "mask.nii.gz"
            found.append(RunRecord(name, person, "", f"{run:02d}", bold, events, mask))
    return found
