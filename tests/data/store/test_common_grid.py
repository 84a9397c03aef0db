"""Stores of smoothed runs, and of runs on several grids that are brought onto one."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from fastbrain.data import (
    WindowSpec,
    plan_like,
    plan_rest,
    plan_store,
    prepare_store,
    read_runs_table,
    split_by,
    write_store,
)
from fastbrain.data.store.target_grid import target_grid
from fastbrain.errors import CohortError, InputError, StoreError, VolumeError

OPTIONS = {
    "window": WindowSpec(4.0, 3),
    "kernel": (2, 2, 3),
    "split": lambda trials: split_by(trials, "run", train=["01"], val=["02"], test=["03"]),
    "high_pass_s": None,
}


def test_the_message_names_the_remedies(two_grids):
    with pytest.raises(CohortError, match=r"--resample first, or mni:2.*--native-grids"):
        plan_store(two_grids, **OPTIONS)


def test_a_flipped_copy_gives_the_same_store(cohort, two_grids, tmp_path):
    store = prepare_store(two_grids, tmp_path / "moved", resample="first", **OPTIONS)
    unmoved = read_runs_table(cohort(subjects=2, name="plain"))
    plain = prepare_store(unmoved, tmp_path / "plain-store", **OPTIONS)
    # flipped and cropped, but no voxel is interpolated
    assert store.info.resampled == plain.info.resampled == ""
    assert store.grid == plain.grid
    for run in two_grids:
        np.testing.assert_array_equal(store.run(run.run_id), plain.run(run.run_id))
    notes = store.info.runs[two_grids[-1].run_id]["notes"]
    assert any("(7, 6, 7) voxels of 3 x 3 x 3.5 mm (voxels as they are)" in n for n in notes)


def test_masks_are_resampled_and_intersected(two_grids, tmp_path):
    path = tmp_path / "own.nii.gz"
    own = np.zeros((7, 6, 7), dtype=np.uint8)  # (X, Y, Z) of the second person
    own[:5, 1:5] = 1
    nib.save(nib.Nifti1Image(own, nib.load(two_grids[-1].bold).affine), path)
    runs = [replace(r, mask=path) if r.subject == "02" else r for r in two_grids]
    plan = plan_store(runs, resample="first", **OPTIONS)
    wanted = np.zeros((5, 6, 7), dtype=bool)
    wanted[:, 1:5, 2:] = True
    np.testing.assert_array_equal(plan.grid.mask, wanted)
    assert "resampled" not in plan.summary()


def test_interpolated_runs_are_recorded(two_grids, tmp_path):
    plan = plan_store(two_grids, resample="mni:3", **OPTIONS)
    assert plan.summary()["resampled"] == "to the grid of mni:3, by linear interpolation"
    store = write_store(plan, tmp_path / "store")
    assert store.info.resampled == "mni:3"
    notes = store.info.runs[two_grids[0].run_id]["notes"]
    assert any("(5, 6, 7) voxels of 3 x 3 x 3.5 mm (linear interpolation)" in n for n in notes)


def test_targets(two_grids, tmp_path):
    plan = plan_store(two_grids, resample="first", **OPTIONS)
    store = write_store(plan, tmp_path / "store")
    headers = plan.headers
    for size, shape in [
        ("mni:2", (91, 109, 91)),
        ("mni:3", (61, 73, 61)),
        ("mni:1", (181, 217, 181)),
    ]:
        found = target_grid(size, headers)
        assert found.shape == shape
        np.testing.assert_allclose(found.affine @ [0, 0, 0, 1], [-90, -126, -72, 1])
    of_store = target_grid(store.path, headers)
    of_image = target_grid(two_grids[0].bold, headers)
    of_mask = target_grid(two_grids[0].mask, headers)
    for found in (of_store, of_image, of_mask):
        assert found.shape == store.grid.shape
        np.testing.assert_allclose(found.affine, store.affine)
    for name in ("mni:", "mni:0", "mni:1e3", "mni:nan", "nowhere"):
        with pytest.raises(InputError, match="resample must be"):
            target_grid(name, headers)


def test_a_grid_that_the_scans_do_not_cover_is_refused_before_work(two_grids, tmp_path):
    far = tmp_path / "far.nii"
    affine = nib.load(two_grids[0].bold).affine.copy()
    affine[1, 3] += 9
    nib.save(nib.Nifti1Image(np.ones((7, 6, 5), dtype=np.uint8), affine), far)
    with pytest.raises(VolumeError, match="must cover the brain mask"):
        plan_store(two_grids, resample=far, mask=np.ones((5, 6, 7), dtype=bool), **OPTIONS)


def test_smoothing_is_part_of_a_store(cohort, tmp_path):
    from nilearn.image import smooth_img

    runs = read_runs_table(cohort(subjects=2))
    store = prepare_store(runs, tmp_path / "store", smoothing_mm=5.0, **OPTIONS)
    assert store.info.smoothing_mm == 5.0
    plain = prepare_store(runs, tmp_path / "plain", **OPTIONS)
    assert store.fingerprint() != plain.fingerprint()
    image = smooth_img(runs[0].bold, 5.0)
    values = image.get_fdata().T[:, store.grid.mask]
    n = len(values)
    design = np.stack([np.ones(n), np.arange(n)], axis=1)
    clean = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    found = store.grid.unpack(store.run(runs[0].run_id) * np.float32(store.scale))
    # half a stored step, and float32 of intensities near 3000
    np.testing.assert_allclose(
        found[:, store.grid.mask], 100 * clean / values.mean(0), atol=0.0025 + 2e-4
    )
    # what is prepared like it is smoothed like it
    like = plan_like(runs[:1], store)
    assert like.smoothing_mm == 5.0
    again = write_store(like, tmp_path / "again")
    np.testing.assert_array_equal(again.run(runs[0].run_id), store.run(runs[0].run_id))
    rest = plan_rest(runs, split=OPTIONS["split"], grid_of=store)
    assert rest.smoothing_mm == 5.0
    assert store.info.to_json()["smoothing_mm"] == 5.0


def test_smoothing_cannot_change_on_resume(cohort, tmp_path):
    runs = read_runs_table(cohort(subjects=2))
    prepare_store(runs, tmp_path / "store", smoothing_mm=5.0, **OPTIONS)
    with pytest.raises(StoreError, match="smoothing_mm"):
        prepare_store(runs, tmp_path / "store", resume=True, **OPTIONS)
    with pytest.raises(InputError, match="smoothing_mm must be"):
        plan_store(runs, smoothing_mm=0.0, **OPTIONS)
