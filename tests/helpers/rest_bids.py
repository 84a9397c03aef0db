"""Resting images of a few people in BIDS layout, with an atlas on their grid."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (6, 5, 4)  # x, y, z
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
REGIONS = 4
# as fMRIPrep names them; the last one has no value in the first row
MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z", "trans_x_derivative1")


def write_rest_bids(
    root: Path, *, people: int = 3, runs: int = 1, frames: int = 48, tr: float = 2.0
) -> Path:
    """Write the tree to `root` and return the path of the atlas."""
    rng = np.random.default_rng(0)
    labels = np.zeros(SHAPE, dtype=np.int16)
    for region in range(REGIONS):
        labels[region + 1, :, 1:3] = 10 * (region + 1)
    ages = [f"sub-{i:02d}\t{30 + 3.5 * (7 * i % people):.1f}\n" for i in range(1, people + 1)]
    root.mkdir(parents=True)
    nib.save(nib.Nifti1Image(labels, AFFINE), root / "atlas.nii.gz")
    (root / "participants.tsv").write_text("participant_id\tage\n" + "".join(ages))
    (root / "task-rest_bold.json").write_text(json.dumps({"RepetitionTime": tr}))
    time = np.arange(frames)
    for i in range(1, people + 1):
        folder = root / f"sub-{i:02d}" / "func"
        folder.mkdir(parents=True)
        for k in range(1, runs + 1):
            motion = rng.standard_normal((frames, len(MOTION)))
            series = rng.standard_normal((REGIONS, frames)) * 20 + 3 * time + 40 * motion[:, 0]
            bold = rng.integers(900, 1100, (*SHAPE, frames)).astype(np.float64)
            for region in range(REGIONS):
                bold[labels == 10 * (region + 1)] += series[region]
            image = nib.Nifti1Image(bold.round().astype(np.int16), AFFINE)
            image.header.set_xyzt_units("mm", "sec")
            image.header["pixdim"][4] = tr
            stem = f"sub-{i:02d}_task-rest" + (f"_run-{k}" if runs > 1 else "")
            nib.save(image, folder / f"{stem}_bold.nii.gz")
            cells = [[f"{v:.6f}" for v in row] for row in motion]
            cells[0][-1] = "n/a"
            text = "\n".join("\t".join(row) for row in [MOTION, *cells])
            (folder / f"{stem}_desc-confounds_timeseries.tsv").write_text(text + "\n")
    return root / "atlas.nii.gz"
