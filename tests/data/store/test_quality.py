"""The quality of a run says what was done to the run; runs without tables still have a row."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from run_splits import by_run

from fastbrain.data import (
    Denoising,
    WindowSpec,
    load_volumes,
    plan_store,
    prepare_store,
    read_runs_table,
)
from fastbrain.data.readers.tables import read_tsv
from fastbrain.data.store.convert import Packing
from fastbrain.data.store.detrend import clean_run
from fastbrain.data.store.quality import COLUMNS, dummy_scans, quality_of, spikes
from fastbrain.errors import CohortError

OPTIONS = {"window": WindowSpec(delay_s=4.0, window_trs=3), "kernel": (2, 2, 3)}
AFFINE = np.diag([-3.0, 3.0, 3.5, 1.0])
SHAPE, N, MEAN, NOISE = (5, 6, 7), 60, 2000.0, 20.0
# int16 images and the noise of a standard deviation over 60 volumes
TOLERANCE = 0.1


@pytest.fixture
def runs(cohort):
    return read_runs_table(cohort(subjects=1))


def image(change=lambda x: x, *, dtype=np.float32):
    """White noise around a mean of 2000, in every voxel of a volume (T, Z, Y, X)."""
    rng = np.random.default_rng(0)
    x = MEAN + NOISE * rng.standard_normal((N, *SHAPE))
    return change(x).astype(dtype)


def write(path, x):
    made = nib.Nifti1Image(x.T, AFFINE)
    made.header.set_xyzt_units("mm", "sec")
    made.header["pixdim"][4] = 2.0
    nib.save(made, path)


def of_run(clean, plan):
    """Quality of the first run."""
    own = [t for t in plan.trials if t.run_id == plan.runs[0].run_id]
    absent = np.zeros(N, dtype=bool)
    return quality_of(clean, plan.runs[0], own, absent, tr=plan.tr, onset_offset_s=0.0)


def quality(runs, x, **options):
    write(runs[0].bold, x)
    plan = plan_store(runs, split=by_run, high_pass_s=None, **options, **OPTIONS)
    voxels = Packing(plan.grid).voxels
    clean = clean_run(load_volumes(runs[0].bold), voxels, units="psc", high_pass_s=None)
    return of_run(clean, plan), len(voxels)


def test_known_values(runs):
    found, _ = quality(runs, image())
    row = found.row
    assert set(row) == set(COLUMNS)
    assert row["tsnr"] == pytest.approx(MEAN / NOISE, rel=TOLERANCE)
    # the change between two independent volumes has twice the variance
    assert row["dvars_mean"] == pytest.approx(100 * NOISE * 2**0.5 / MEAN, rel=TOLERANCE)
    assert row["coverage"] == 1
    assert (row["dummy_scans"], row["constant"], row["never_finite"], row["clipped"]) == (
        0,
        0,
        0,
        0,
    )
    assert (row["fd_mean"], row["fd_max"], row["censored"], row["confounds"]) == (None, None, 0, 0)
    assert 0 < row["design_lost"] < 0.2
    assert found.traces["fd"] is None
    assert len(found.traces["dvars"]) == N


def test_responses_are_placed_by_the_time_of_the_first_volume(runs):
    write(runs[0].bold, image())
    plan = plan_store(runs, split=by_run, high_pass_s=None, **OPTIONS)
    # a filter removes drifts, and with them a part of the responses that depends on their times
    clean = clean_run(
        load_volumes(runs[0].bold), Packing(plan.grid).voxels, units="psc", high_pass_s=40.0
    )
    later = replace(
        plan,
        runs=(replace(plan.runs[0], start_time=7.0),),
        trials=tuple(replace(t, onset=t.onset + 7.0) for t in plan.trials),
    )
    lost = of_run(clean, plan).row["design_lost"]
    assert of_run(clean, later).row["design_lost"] == lost
    assert of_run(clean, replace(later, runs=plan.runs)).row["design_lost"] != lost


def test_planted_faults_are_found(runs):
    def broken(x):
        x[:3] *= 1.2  # before the steady state
        x[30] *= 1.1
        return x

    found, _ = quality(runs, image(broken))
    assert found.row["dummy_scans"] == 3
    assert found.row["spikes"] >= 2
    assert found.row["dvars_max"] > 3 * found.row["dvars_mean"]
    assert np.argsort(found.traces["dvars"])[-3:].min() >= 3


def test_voxels_without_a_signal_are_counted_by_kind(cohort):
    runs = read_runs_table(cohort(subjects=1))

    def odd(x):
        x[:, 2, 2, 2] = np.nan
        return x

    write(runs[0].bold, image(odd))
    plan = plan_store(runs, split=by_run, high_pass_s=None, **OPTIONS)
    voxels = Packing(plan.grid).voxels
    # repeated, so that a single dead voxel is below the limit of 1 %
    many = np.concatenate([voxels] * 2)
    clean = clean_run(load_volumes(runs[0].bold), many, units="psc", high_pass_s=None)
    row = of_run(clean, plan).row
    assert row["never_finite"] == 2
    assert row["coverage"] == pytest.approx(1 - 2 / len(many), abs=1e-4)


def test_a_centred_run_has_no_brightness(runs):
    # below zero: around zero, the sign would be that of the noise
    write(runs[0].bold, image(lambda x: x - x.mean(axis=0) - NOISE))
    plan = plan_store(runs, split=by_run, units="zscore", high_pass_s=None, **OPTIONS)
    voxels = Packing(plan.grid).voxels
    clean = clean_run(load_volumes(runs[0].bold), voxels, units="zscore", high_pass_s=None)
    assert np.median(clean.brightness) < 0
    row = of_run(clean, plan).row
    assert (row["tsnr"], row["dvars_mean"]) == (None, None)


@pytest.mark.parametrize(
    ("values", "count"),
    [([5.0] * 9, 0), ([9, 7, 5, 5, 5.01, 5, 5], 2), ([5, 9, 5, 5, 5], 0), ([1.0], 0)],
)
def test_dummy_scans(values, count):
    assert dummy_scans(np.array(values, dtype=float)) == count


def test_spikes_are_beyond_the_fence():
    changes = np.array([1.0, 1.1, 0.9, 1.0, 1.2, 0.8, 9.0]) ** 2
    assert np.flatnonzero(spikes(changes)).tolist() == [6]
    assert spikes(np.zeros(0)).shape == (0,)


def test_the_table_of_a_store(runs, tmp_path):
    store = prepare_store(runs, tmp_path / "out", split=by_run, **OPTIONS)
    columns, rows = read_tsv(store.path / "quality.tsv")
    assert columns == ["run", "subject", "volumes", *COLUMNS, "included", "reason"]
    assert [row["run"] for row in rows] == list(store.info.runs)
    for row in rows:
        own = store.info.runs[row["run"]]["quality"]
        assert row["fd_mean"] == "n/a"
        assert float(row["tsnr"]) == pytest.approx(own["tsnr"], rel=1e-4)
    again = {**store.manifest["runs"]}
    name = next(iter(again))
    again[name] = {**again[name], "quality": {}}
    # the quality of a run changes no window
    assert replace(store, info=replace(store.info, runs=again)).fingerprint() == store.fingerprint()


def test_an_unusable_table_is_noted_where_nothing_needs_it(cohort, tmp_path):
    table = cohort(subjects=1)
    head, *rows = table.read_text().splitlines()
    names = [f"c{i}.tsv" for i in range(len(rows))]
    for name in names:
        (table.parent / name).write_text("framewise_displacement\n0.1\n")
    rows = [f"{row}\t{name}" for row, name in zip(rows, names, strict=True)]
    table.write_text("\n".join([head + "\tconfounds", *rows]) + "\n")
    runs = read_runs_table(table)
    store = prepare_store(runs, tmp_path / "out", split=by_run, **OPTIONS)
    for facts in store.info.runs.values():
        assert facts["quality"]["fd_mean"] is None
        assert any("row for each of the 60 volumes" in note for note in facts["notes"])
    with pytest.raises(CohortError, match="row for each of the 60 volumes"):
        plan_store(runs, split=by_run, denoising=Denoising.parse(["fd:1"]), **OPTIONS)
