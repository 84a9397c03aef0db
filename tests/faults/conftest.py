"""A cohort that takes no time to prepare."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


@pytest.fixture
def table(tmp_path) -> Path:
    """Runs table of one subject with three runs of 4 x 4 x 4 voxels."""
    rng = np.random.default_rng(0)
    rows = ["subject\trun\tbold\tevents\tmask"]
    for run in (1, 2, 3):
        data = (1000 + 9 * rng.standard_normal((4, 4, 4, 60))).astype(np.int16)
        image = nib.Nifti1Image(data, np.eye(4))
        image.header.set_xyzt_units("mm", "sec")
        image.header["pixdim"][4] = 2
        image.to_filename(tmp_path / f"{run}.nii")
        events = [f"{onset}\t1\tx{onset}" for onset in (0, 20, 40)]
        (tmp_path / f"{run}.tsv").write_text("\n".join(["onset\tduration\ttrial_type", *events]))
        rows.append(f"1\t{run}\t{run}.nii\t{run}.tsv\tmask.nii")
    nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)).to_filename(tmp_path / "mask.nii")
    (tmp_path / "runs.tsv").write_text("\n".join(rows))
    return tmp_path / "runs.tsv"
