"""Motion correction of real scans."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from fastbrain.realtime.preprocess import PreprocessSettings, VolumePipeline
from fastbrain.realtime.volume import Volume

SCANS = (
    "haxby_runs01-08/sub001/BOLD/task001_run001/bold_1slice.nii.gz",
    "nifti_4d/sct_spinal_fmri.nii.gz",
)


@pytest.mark.parametrize("name", SCANS)
def test_correction_raises_the_tsnr_of_a_real_scan(real_data, name):
    """By 5 and 10 % in these scans, of one slice of a head and of a neck."""
    image = nib.load(real_data / name)
    data = np.ascontiguousarray(np.asarray(image.dataobj).T.astype(np.float32))
    found = {}
    for motion in ("volumes", "none"):
        pipeline = VolumePipeline.monitor(settings=PreprocessSettings(motion=motion))
        results = [
            pipeline.push(Volume(i, values, image.affine, None, 0.0, None))
            for i, values in enumerate(data)
        ]
        found[motion] = results[-1].tsnr
        assert not any(r.spike for r in results)
    assert found["volumes"] > found["none"]
