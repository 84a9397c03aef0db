"""The store holds the right numbers, of training windows alone, and says which voxels it lacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from run_splits import by_run

import fastbrain.data.store.prepare as prepare
from fastbrain.data import (
    VoxelStore,
    WindowSpec,
    load_volumes,
    plan_store,
    prepare_store,
    read_runs_table,
    split_unseen,
)
from fastbrain.errors import CohortError, StoreError, VolumeError

WINDOW = WindowSpec(delay_s=4.0, window_trs=3)
HIGH_PASS_S = 50.0
# half a stored step, plus what float32 loses on intensities near 3000
STEP_PSC = 0.005
TOLERANCE_PSC = 0.5 * STEP_PSC + 2e-4

OPTIONS = {"window": WINDOW, "kernel": (2, 2, 3), "split": by_run, "high_pass_s": HIGH_PASS_S}


@pytest.fixture
def runs(cohort):
    return read_runs_table(cohort())


def truth(path: Path, mask: np.ndarray, units: str) -> np.ndarray:
    """The same in float64 by least squares, voxel by voxel, (T, V)."""
    x = nib.load(path).get_fdata().T[:, mask]
    n = len(x)
    t = np.arange(n)
    order = int(2 * n * 2.0 / HIGH_PASS_S)
    cosines = [np.cos(np.pi / n * (t + 0.5) * k) for k in range(1, order + 1)]
    design = np.stack([np.ones(n), t, *cosines], axis=1)
    residual = x - design @ np.linalg.lstsq(design, x, rcond=None)[0]
    return 100 * residual / x.mean(0) if units == "psc" else residual / residual.std(0)


@pytest.mark.parametrize("units", ["psc", "zscore"])
def test_values_against_float64(runs, tmp_path, units):
    store = prepare_store(runs, tmp_path / "out", units=units, **OPTIONS)
    tolerance = TOLERANCE_PSC if units == "psc" else 0.5 * 0.001 + 1e-4
    assert store.units == units
    for run in runs[::4]:
        expected = truth(run.bold, store.grid.mask, units)
        volumes = store.grid.unpack(store.run(run.run_id).astype(np.float64) * store.scale)
        assert np.abs(volumes[:, store.grid.mask] - expected).max() < tolerance
        assert not volumes[:, ~store.grid.mask].any()


def test_layout_is_that_of_the_grid(runs, tmp_path):
    store = prepare_store(runs, tmp_path / "out", **OPTIONS)
    again = store.grid.pack(store.grid.unpack(np.asarray(store.run(runs[0].run_id))))
    np.testing.assert_array_equal(again, store.run(runs[0].run_id))
    assert store.run(runs[0].run_id).shape == (60, store.grid.n_tokens, 12)


def test_overlapping_patches_hold_the_same_voxels(runs, tmp_path):
    wide = prepare_store(runs, tmp_path / "a", stride=(1, 2, 2), **OPTIONS)
    plain = prepare_store(runs, tmp_path / "b", **OPTIONS)
    assert wide.grid.overlapping
    for run in runs[:2]:
        volumes = plain.grid.unpack(np.asarray(plain.run(run.run_id)))
        np.testing.assert_array_equal(wide.run(run.run_id), wide.grid.pack(volumes))


def test_statistics_see_training_windows_alone(runs, tmp_path):
    store = prepare_store(runs, tmp_path / "out", **OPTIONS)
    assert store.fit_runs == tuple(r.run_id for r in runs if r.run == "01")
    rows = np.concatenate([store.window(i) for i in store.split.train])
    values = rows.astype(np.float64) * store.scale
    inside = store.inv_std > 0
    np.testing.assert_array_equal(inside, store.grid.patch_mask)
    np.testing.assert_allclose(store.mean[inside], values.mean(0)[inside], atol=1e-6)
    np.testing.assert_allclose(store.inv_std[inside], 1 / values.std(0)[inside], rtol=1e-5)
    assert not store.mean[~inside].any()
    assert store.info.fit["n_volumes"] == len(rows)


def test_statistics_do_not_move_with_test_runs(cohort, tmp_path):
    path = cohort()
    before = prepare_store(read_runs_table(path), tmp_path / "a", **OPTIONS)
    for run in read_runs_table(path):
        if run.run == "03":
            volumes = load_volumes(run.bold)
            image = nib.load(run.bold)
            noise = np.random.default_rng(9).normal(2000, 300, volumes.shape).astype(np.int16)
            nib.save(nib.Nifti1Image(noise.T, image.affine, image.header), run.bold)
    after = prepare_store(read_runs_table(path), tmp_path / "b", **OPTIONS)
    np.testing.assert_array_equal(before.mean, after.mean)
    np.testing.assert_array_equal(before.inv_std, after.inv_std)
    assert before.fingerprint() != after.fingerprint()


def test_window_is_a_view_of_the_right_volumes(runs, tmp_path):
    store = prepare_store(runs, tmp_path / "out", **OPTIONS)
    trial = store.trials[3]
    window = store.window(trial.trial_id)
    assert trial.start == round((trial.onset + 4.0) / 2.0)
    assert not window.flags["OWNDATA"]
    expected = np.load(tmp_path / "out/runs" / f"{trial.run_id}.npy")
    np.testing.assert_array_equal(window, expected[trial.start : trial.start + 3])
    assert store.window_spec == WINDOW
    for bad in ("nobody", ""):
        with pytest.raises(StoreError, match="trial_id"):
            store.window(bad)
        with pytest.raises(StoreError, match="run_id"):
            store.run(bad)


def test_open_gives_back_what_was_prepared(runs, tmp_path):
    made = prepare_store(runs, tmp_path / "out", **OPTIONS)
    store = VoxelStore.open(tmp_path / "out", verify=True)
    assert store.trials == made.trials
    assert store.split == made.split
    assert store.fingerprint() == made.fingerprint()
    assert store.grid.fingerprint() == made.grid.fingerprint()
    np.testing.assert_array_equal(store.affine, np.diag([-3.0, 3.0, 3.5, 1.0]))
    assert (store.tr, store.scale) == (2.0, STEP_PSC)
    assert Path(store.info.root) == runs[0].root.resolve()
    store.split.check(store.trials)


def test_split_may_be_scattered_over_runs(runs, tmp_path):
    def scattered(trials):
        return split_unseen(trials, test_subjects=["03"], val="stimulus", guard_trs=2)

    options = {**OPTIONS, "split": scattered}
    store = prepare_store(runs, tmp_path / "out", **options)
    rows = np.concatenate([store.window(i) for i in store.split.train]).astype(np.float64)
    np.testing.assert_allclose(store.mean, rows.mean(0) * store.scale, atol=1e-6)


def test_volumes_must_be_as_many_as_their_listed_times(runs):
    plan_store([replace(run, n_volumes=60) for run in runs], **OPTIONS)
    with pytest.raises(CohortError, match="must have 40 volumes, as VolumeTiming"):
        plan_store([replace(run, n_volumes=40) for run in runs], **OPTIONS)


def test_plan_writes_nothing(runs, tmp_path):
    plan = plan_store(runs, **OPTIONS)
    assert plan.n_volumes == 9 * 60
    assert plan.nbytes == 9 * 60 * plan.grid.n_tokens * 12 * 2
    assert not (tmp_path / "out").exists()
    assert plan.summary()["trials"].startswith("24 train, 24 val, 24 test, 0 unused")
    store = prepare.write_store(plan, tmp_path / "out")
    size = sum(p.stat().st_size for p in (tmp_path / "out/runs").glob("*.npy"))
    # a npy header a run
    assert 0 < size - plan.nbytes <= 9 * 128
    assert store.info.runs[runs[0].run_id]["n_volumes"] == 60


def test_how_headers_were_read_is_told_and_kept(cohort, tmp_path, capsys):
    runs = read_runs_table(cohort())
    for run in runs[:2]:
        image = nib.load(run.bold)
        data = np.asarray(image.dataobj.get_unscaled())
        fresh = nib.Nifti1Image(data, image.affine)
        fresh.header.set_xyzt_units("mm", "msec")
        fresh.header["pixdim"][4] = 2000.0
        nib.save(fresh, run.bold)
    store = prepare_store(runs, tmp_path / "out", **OPTIONS)
    said = capsys.readouterr().err
    assert "2000 msec is 2 s. (sub-01_run-01 and 1 more runs)" in said
    kept = [bool(result["notes"]) for result in store.info.runs.values()]
    assert kept == [True, True] + [False] * 7


def rewrite(path: Path, change) -> None:
    """Change the stored values of an image in place."""
    image = nib.load(path)
    data = np.asarray(image.get_fdata(), dtype=np.float32)
    change(data)
    fresh = nib.Nifti1Image(data, image.affine)
    fresh.header.set_xyzt_units("mm", "sec")
    fresh.header["pixdim"][4] = 2.0
    nib.save(fresh, path)


def test_nan_inside_the_mask_is_refused(cohort, tmp_path):
    runs = read_runs_table(cohort())

    def spoil(data):
        data[3, 2, 2, 17] = np.nan

    rewrite(runs[4].bold, spoil)
    with pytest.raises(VolumeError, match=r"run-02_bold.*1 voxels, first in volume 17"):
        prepare_store(runs, tmp_path / "out", **OPTIONS)
    with pytest.raises(StoreError, match="unfinished"):
        VoxelStore.open(tmp_path / "out")


@pytest.mark.parametrize("value", [np.nan, np.inf, 7.0, 0.0], ids=str)
def test_dead_voxels_are_zero_and_counted(cohort, tmp_path, value):
    runs = read_runs_table(cohort())

    def kill(data):
        data[3, 2, 2] = value

    for run in runs:
        rewrite(run.bold, kill)
    store = prepare_store(runs, tmp_path / "out", **OPTIONS)
    assert {r["dead_voxels"] for r in store.info.runs.values()} == {1}
    volumes = store.grid.unpack(np.asarray(store.run(runs[0].run_id)))
    assert not volumes[:, 2, 2, 3].any()
    assert (store.inv_std[store.grid.patch_mask] == 0).sum() == 1


def test_too_many_dead_voxels(cohort, tmp_path):
    runs = read_runs_table(cohort())

    def demean(data):
        data -= data.mean(-1, keepdims=True)

    for run in runs:
        rewrite(run.bold, demean)
    with pytest.raises(StoreError, match="units='zscore'"):
        prepare_store(runs, tmp_path / "psc", **OPTIONS)
    store = prepare_store(runs, tmp_path / "z", units="zscore", **OPTIONS)
    assert {r["dead_voxels"] for r in store.info.runs.values()} == {0}


def test_flat_run_is_refused(cohort, tmp_path):
    runs = read_runs_table(cohort())

    def flatten(data):
        data[:] = 500

    rewrite(runs[0].bold, flatten)
    with pytest.raises(VolumeError, match="voxel that varies"):
        prepare_store(runs, tmp_path / "out", **OPTIONS)


def test_spikes_saturate_and_are_counted(cohort, tmp_path):
    runs = read_runs_table(cohort())

    def spike(data):
        data[3, 2, 2, 30] = 2e4

    rewrite(runs[0].bold, spike)
    store = prepare_store(runs, tmp_path / "out", **OPTIONS)
    assert store.info.runs[runs[0].run_id]["clipped"] == 1
    assert store.run(runs[0].run_id).max() == 32767


def test_given_masks(runs, tmp_path):
    mask = np.zeros((5, 6, 7), bool)
    mask[1:3, 2:4, 2:5] = True
    store = prepare_store(runs, tmp_path / "out", mask=mask, **OPTIONS)
    np.testing.assert_array_equal(store.grid.mask, mask)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_packing_does_not_matter(cohort, tmp_path, suffix):
    runs = read_runs_table(cohort(suffix=suffix, subjects=1))
    store = prepare_store(runs, tmp_path / "out", **OPTIONS)
    assert store.info.runs[runs[0].run_id]["source"].endswith(suffix)
    expected = truth(runs[0].bold, store.grid.mask, "psc")
    values = store.grid.unpack(store.run(runs[0].run_id) * store.scale)[:, store.grid.mask]
    assert np.abs(values - expected).max() < TOLERANCE_PSC


def test_real_one_slice_runs(real_data, tmp_path):
    root = real_data / "haxby_runs01-08"
    lines = ["subject\trun\tbold\tevents\tmask\ttr"]
    for r in (1, 2, 3):
        onsets = sorted((root / f"sub001/model/model001/onsets/task001_run{r:03d}").glob("*.txt"))
        rows = ["onset\tduration\ttrial_type"]
        rows += [f"{p.read_text().split()[0]}\t22.5\t{p.stem}" for p in onsets]
        (tmp_path / f"e{r}.tsv").write_text("\n".join(rows) + "\n")
        bold = root / f"sub001/BOLD/task001_run{r:03d}/bold_1slice.nii.gz"
        lines.append(f"1\t0{r}\t{bold}\te{r}.tsv\t{root}/mask_1slice.nii.gz\t2.5")
    (tmp_path / "runs.tsv").write_text("\n".join(lines) + "\n")
    runs = read_runs_table(tmp_path / "runs.tsv", allow_outside=True)
    store = prepare_store(
        runs, tmp_path / "out", window=WindowSpec(5.0, 9), kernel=(1, 4, 4), split=by_run
    )
    assert store.grid.shape == (1, 20, 40)
    assert store.window(store.split.test[0]).shape == (9, store.grid.n_tokens, 16)
    assert len(store.split.train) == 8
