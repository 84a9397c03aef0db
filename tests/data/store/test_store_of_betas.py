"""Stores of single-trial betas: values, statistics, and what they do not have."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from fastbrain.data import (
    RunRecord,
    WindowLoader,
    WindowSpec,
    plan_betas,
    plan_like,
    split_by,
    write_store,
)
from fastbrain.errors import CohortError, InputError, SplitError, VolumeError
from fastbrain.realtime.preprocess import VolumePipeline

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
SHAPE = (6, 7, 5)  # (X, Y, Z)
TRIALS = 24
DIVISOR = 300.0


def by_session(trials):
    return split_by(trials, "session", train=["01", "02"], val=["03"], test=["04"])


@pytest.fixture
def runs(tmp_path):
    """Four sessions of one person, int16 and divided by 300 like those of NSD."""
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[1:, :6] = 1
    nib.save(nib.Nifti1Image(mask, AFFINE), tmp_path / "mask.nii.gz")
    found = []
    for session in range(1, 5):
        rng = np.random.default_rng(session)
        values = rng.normal(0.3 * session, 1 + session / 10, (*SHAPE, TRIALS))
        values[0, 0, 0] = 0
        bold = tmp_path / f"betas_session{session:02d}.nii.gz"
        nib.save(nib.Nifti1Image(np.rint(DIVISOR * values).astype(np.int16), AFFINE), bold)
        events = tmp_path / f"session{session:02d}.tsv"
        lines = [f"text {session} {i}\tpicture {session} {i}" for i in range(TRIALS)]
        events.write_text("\n".join(["text\tstimulus", *lines]) + "\n")
        name = f"sub-01_ses-{session:02d}_run-01"
        found.append(
            RunRecord(name, "01", f"{session:02d}", "01", bold, events, tmp_path / "mask.nii.gz")
        )
    return found


OPTIONS = {"kernel": (2, 2, 3), "split": by_session, "divisor": DIVISOR}


@pytest.mark.parametrize("units", ["psc", "zscore"])
def test_windows_are_the_betas_of_trials(runs, tmp_path, units):
    store = write_store(plan_betas(runs, units=units, **OPTIONS), tmp_path / "store")
    assert (store.tr, store.window_spec, store.info.beta_divisor) == (1.0, WindowSpec(0.0, 1), 300)
    for run in runs:
        values = nib.load(run.bold).get_fdata().T[:, store.grid.mask] / DIVISOR
        if units == "zscore":
            values = (values - values.mean(0)) / values.std(0)
        own = [t for t in store.trials if t.run_id == run.run_id]
        assert [t.start for t in own] == list(range(TRIALS))
        found = store.grid.unpack(np.concatenate([store.window(t.trial_id) for t in own]))
        # half a stored step
        np.testing.assert_allclose(
            found[:, store.grid.mask] * store.scale, values, atol=0.51 * store.scale
        )
    training = np.concatenate([store.window(i) for i in store.split.train]) * store.scale
    alive = store.inv_std > 0
    np.testing.assert_allclose(store.mean[alive], training.mean(0)[alive], atol=1e-6)
    np.testing.assert_allclose(store.inv_std[alive], 1 / training.std(0)[alive], rtol=1e-5)
    assert store.fit_runs == tuple(run.run_id for run in runs[:2])
    batch = next(iter(WindowLoader(store, store.split.train, batch_size=3, shuffle=False)))
    assert batch.voxels.shape[:2] == (3, 1)


def test_arrays_give_the_same_store(runs, tmp_path):
    plain = write_store(plan_betas(runs, **OPTIONS), tmp_path / "plain")
    arrays = []
    for run in runs:
        path = run.bold.with_name(run.bold.name.replace(".nii.gz", ".npy"))
        np.save(path, np.asarray(nib.load(run.bold).dataobj))
        arrays.append(replace(run, bold=path))
    store = write_store(plan_betas(arrays, **OPTIONS), tmp_path / "store")
    for trial in plain.trials[::7]:
        np.testing.assert_array_equal(store.window(trial.trial_id), plain.window(trial.trial_id))


def test_new_betas_are_prepared_like_those_of_training(runs, tmp_path):
    store = write_store(plan_betas(runs[:4], **OPTIONS), tmp_path / "store")
    plan = plan_like(runs[3:], store)
    new = write_store(plan, tmp_path / "new")
    assert new.info.beta_divisor == DIVISOR
    np.testing.assert_array_equal(new.run(runs[3].run_id), store.run(runs[3].run_id))
    with pytest.raises(InputError, match="every must be None"):
        plan_like(runs[3:], store, every=1)
    with pytest.raises(InputError, match="got one of betas"):
        VolumePipeline.from_run(store)


def test_summary_says_what_betas_are(runs):
    said = plan_betas(runs, **OPTIONS).summary()
    assert said["volumes"].startswith("96 betas, 300 stored units per percent")
    assert said["windows"] == "the beta of each trial"
    assert "high-pass" not in said


def test_refused(runs):
    with pytest.raises(CohortError, match="must have a brain mask, got none"):
        plan_betas([replace(runs[0], mask=None), *runs[1:]], **OPTIONS)
    one = {**OPTIONS, "split": lambda t: replace(by_session(t), train=by_session(t).train[:1])}
    with pytest.raises(SplitError, match="two training trials"):
        plan_betas(runs, **one)
    with pytest.raises(InputError, match="units must be"):
        plan_betas(runs, units="beta", **OPTIONS)


def test_a_voxel_without_a_beta_in_some_trials_is_refused(runs, tmp_path):
    image = nib.load(runs[0].bold)
    values = image.get_fdata().astype(np.float32)
    values[2, 2, 2, 5] = np.nan
    nib.save(nib.Nifti1Image(values, AFFINE), runs[0].bold)
    with pytest.raises(VolumeError, match="NaN or infinity in 1 voxels, first in volume 5"):
        write_store(plan_betas(runs, **OPTIONS), tmp_path / "store")
